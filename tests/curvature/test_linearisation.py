"""Products with J, Jᵀ and G against the dense Jacobian in float64, whole and in chunks, in both product modes."""

from __future__ import annotations

import gc
import math
import weakref

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.systems import OnceDifferentiable, dense_hessian, dense_jacobian, flat, inputs_for, network, targets_for
from torch import Tensor, nn

import hfbench
from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.work_ledger import Ledger
from hfbench.errors import ConfigError, NonFiniteError
from hfbench.linalg.vector import Vector

LOSS_NAMES = ["least-squares", "logistic", "softmax"]


def random_vector(model: nn.Module, seed: int) -> Vector:
    generator = torch.Generator().manual_seed(seed)
    return Vector(
        torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in model.parameters() if p.requires_grad
    )


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=4),
    st.integers(1, 7),
    st.sampled_from(LOSS_NAMES),
    st.sampled_from([None, 1, 3]),
    st.integers(0, 10**6),
)
def test_products_equal_the_dense_ones(sizes: list[int], cases: int, loss: str, chunk: int | None, seed: int) -> None:
    assume(loss != "softmax" or sizes[-1] > 1)  # one class alone is refused
    model, x = network(tuple(sizes), seed), inputs_for(cases, sizes[0], seed + 1)
    t = targets_for(loss, cases, sizes[-1], seed + 2)
    at = hfbench.linearize(model, loss, x, t, chunk=chunk)
    J, v, u = dense_jacobian(model, x), random_vector(model, seed), inputs_for(cases, sizes[-1], seed + 3)
    H = dense_hessian(loss, model(x), t)
    V = torch.tensor(flat(v))
    torch.testing.assert_close(at.jvp(v).reshape(-1), J @ V, atol=1e-10, rtol=1e-9)
    torch.testing.assert_close(torch.tensor(flat(at.vjp(u))), J.T @ u.reshape(-1), atol=1e-10, rtol=1e-9)
    torch.testing.assert_close(
        torch.tensor(flat(at.gauss_newton(v))), J.T @ (H @ (J @ V)) / cases, atol=1e-10, rtol=1e-9
    )
    torch.testing.assert_close(at.jvp(list(v)), at.jvp(v))


class Shared(nn.Module):
    """One layer used twice, an unused parameter, a frozen one, and a scale: everything a plain network is not."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator, dtype=torch.float64))

        self.layer = nn.Linear(3, 3, dtype=torch.float64)
        self.layer.weight, self.layer.bias = parameter(3, 3), parameter(3)
        self.scale, self.unused = parameter(3), parameter(2)
        self.frozen = parameter(3)
        self.frozen.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.tanh(self.layer(x))) * self.scale + self.frozen


def test_any_differentiable_module() -> None:
    model, x, t = Shared(), inputs_for(5, 3, 1), targets_for("logistic", 5, 3, 2)
    at = hfbench.linearize(model, "logistic", x, t)
    J, v, u = dense_jacobian(model, x), random_vector(model, 3), inputs_for(5, 3, 4)
    torch.testing.assert_close(at.jvp(v).reshape(-1), J @ torch.tensor(flat(v)))
    torch.testing.assert_close(torch.tensor(flat(at.vjp(u))), J.T @ u.reshape(-1))
    per_case = J.reshape(5, 3, -1)
    rows = torch.einsum("no,nop->np", at.residual, per_case)
    torch.testing.assert_close(torch.tensor(flat(at.squared_sums(at.residual))), rows.square().sum(0))
    assert at.squared_norms(at.residual) == pytest.approx(float(rows.square().sum()))


class Fused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = network((3, 4), 0)

    def forward(self, x: Tensor) -> Tensor:
        return OnceDifferentiable.apply(self.inner(x))


def test_forward_mode_where_there_is_no_second_derivative() -> None:
    model, x, t = Fused(), inputs_for(5, 3, 1), targets_for("logistic", 5, 4, 2)
    at = hfbench.linearize(model, "logistic", x, t)
    v = random_vector(model, 1)
    z = model.inner(x)
    J = 2 * z.reshape(-1, 1) * dense_jacobian(model.inner, x)
    torch.testing.assert_close(at.jvp(v).reshape(-1), (J @ torch.tensor(flat(v))).detach())
    assert at.product_mode == "forward"


def test_adjoint() -> None:
    model, x, t = network((5, 7, 4), 0), inputs_for(9, 5, 1), targets_for("softmax", 9, 4, 2)
    at = hfbench.linearize(model, "softmax", x, t)
    v, u = random_vector(model, 3), inputs_for(9, 4, 4)
    assert float((at.jvp(v) * u).sum()) == pytest.approx(v.dot(at.vjp(u)), rel=1e-12)


@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("chunk", [None, 4])
def test_gradient_value_and_variance(loss: str, chunk: int | None) -> None:
    """Against automatic differentiation of each case's loss on its own."""
    model, x, t = network((4, 5, 3), 0), inputs_for(9, 4, 1), targets_for(loss, 9, 3, 2)
    at = Linearisation(model, loss, x, t, chunk=chunk)
    per_case, values = [], []
    for i in range(9):
        one = Linearisation(model, loss, x[i : i + 1], t[i : i + 1])
        values.append(one.value)
        per_case.append(torch.tensor(flat(one.gradient)))
    G = torch.stack(per_case)
    assert at.value == pytest.approx(sum(values) / 9)
    torch.testing.assert_close(torch.tensor(flat(at.gradient)), G.mean(0))
    assert at.variance_l1 == pytest.approx(float(G.var(0, unbiased=True).sum()), rel=1e-10)
    torch.testing.assert_close(torch.tensor(flat(at.squared_sums(at.residual))), G.square().sum(0))


@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("chunk", [None, 4])
@pytest.mark.parametrize("layout", ["structured", "flat"])
def test_variance_along_a_vector(loss: str, chunk: int | None, layout: str) -> None:
    """Against each case's gradient by automatic differentiation of PyTorch's own losses."""
    model, x, t = network((4, 5, 3), 0), inputs_for(9, 4, 1), targets_for(loss, 9, 3, 2)
    G = torch.stack([plain_gradient(model, loss, x[i : i + 1], t[i : i + 1]) for i in range(9)])
    ledger = Ledger()
    at = Linearisation(model, loss, x, t, chunk=chunk, layout=layout, ledger=ledger)
    v = at.layout.pack(random_vector(model, 3))
    forward = ledger.forward
    assert at.variance_along(v) == pytest.approx(float((G @ torch.tensor(flat(v))).var(unbiased=True)), rel=1e-10)
    assert (ledger.jvp, ledger.products) == (9, 0.0), "a pass, but no product of an inner solve"
    assert ledger.forward == forward + (0 if chunk is None else 2 * 9), "streamed: for the outputs, and for J v"
    along = at.variance_along(at.gradient)
    g = G.mean(0)
    across = (G - torch.outer(G @ g / g.dot(g), g)).var(0, unbiased=True).sum()
    assert along == pytest.approx(float((G @ g).var(unbiased=True)), rel=1e-10)
    assert at.variance_l1 - along / float(g.dot(g)) == pytest.approx(float(across), rel=1e-9)


def plain_gradient(model: nn.Module, loss: str, x: Tensor, t: Tensor) -> Tensor:
    """The gradient of the summed loss by the parameters, as one tensor."""
    functional = nn.functional
    z = model(x)
    total = {
        "softmax": lambda: functional.cross_entropy(z, t, reduction="sum"),
        "logistic": lambda: functional.binary_cross_entropy_with_logits(z, t, reduction="sum"),
        "least-squares": lambda: 0.5 * functional.mse_loss(z, t, reduction="sum"),
    }[loss]()
    return torch.cat([block.reshape(-1) for block in torch.autograd.grad(total, list(model.parameters()))])


def test_variances_work_for_every_model() -> None:
    """Layers that are not dense, and one that has no second derivative."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(2, 3, 2, dtype=torch.float64), nn.Tanh())
    x, t = torch.randn(5, 2, 4, dtype=torch.float64), torch.randn(5, 3, 3, dtype=torch.float64)
    G = torch.stack([plain_gradient(model, "least-squares", x[i : i + 1], t[i : i + 1]) for i in range(5)])
    at = Linearisation(model, "least-squares", x, t)
    assert at.variance_along(at.gradient) == pytest.approx(float((G @ G.mean(0)).var(unbiased=True)), rel=1e-10)
    assert at.variance_l1 == pytest.approx(float(G.var(0, unbiased=True).sum()), rel=1e-10)


def test_variance_of_a_gradient_that_is_nan_is_nan() -> None:
    model, x, t = network((4, 5, 3), 0), inputs_for(6, 4, 1), targets_for("least-squares", 6, 3, 2)
    t[2] = math.nan
    at = Linearisation(model, "least-squares", x, t)
    assert math.isnan(at.variance_l1)
    assert math.isnan(at.variance_along(at.parameters))


def test_ledger_counts_cases_per_pass() -> None:
    model, x, t = network((4, 5, 3), 0), inputs_for(10, 4, 1), targets_for("logistic", 10, 3, 2)
    ledger = Ledger()
    at = Linearisation(model, "logistic", x, t, ledger=ledger)
    assert (at.value > 0, ledger.work) == (True, 10)
    assert at.gradient.norm() > 0
    assert ledger.work == 30
    v = random_vector(model, 0)
    at.gauss_newton(v)
    assert (ledger.work, ledger.products) == (70, 1.0)
    at.jvp(v)
    assert (ledger.work, ledger.products) == (90, 1.5)
    at.squared_sums(at.residual)
    assert at.squared_norms(at.residual) > 0
    assert ledger.work == 120
    streamed = Ledger()
    Linearisation(model, "logistic", x, t, chunk=4, ledger=streamed).gauss_newton(v)
    assert streamed.work == 50, "streaming rebuilds the forward pass, and says so"


def test_the_graph_dies_with_the_linearisation() -> None:
    model, x, t = network((4, 5, 3), 0), inputs_for(10, 4, 1), targets_for("logistic", 10, 3, 2)
    at = Linearisation(model, "logistic", x, t)
    at.gauss_newton(random_vector(model, 0))
    graph = weakref.ref(at.kept)
    del at
    gc.collect()
    assert graph() is None


@pytest.mark.parametrize("chunk", [None, 4])
def test_products_refuse_what_is_no_vector(chunk: int | None) -> None:
    """One sentence for numbers, texts and other shapes, of the outputs' space too; nothing is counted."""
    model, x, t = network((4, 3), 0), inputs_for(10, 4, 1), targets_for("logistic", 10, 3, 2)
    at = hfbench.linearize(model, "logistic", x, t, chunk=chunk)
    others = 3, "x", None, [1.0], torch.zeros(()), torch.zeros(11, 3), torch.zeros(10, 3, dtype=torch.complex64)
    for wrong in others:
        for product in (at.jvp, at.gauss_newton, at.variance_along):
            with pytest.raises(ConfigError, match="a vector's blocks must have the parameters' shapes"):
                product(wrong)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=r"must be real and have the outputs' shape \(10, 3\), but got"):
            at.vjp(wrong)  # type: ignore[arg-type]
    assert (at.ledger.jvp, at.ledger.vjp) == (0, 0)
    for moment in (at.squared_sums, at.squared_norms):
        with pytest.raises(ConfigError, match="the outputs' shape"):
            moment(torch.zeros(11, 3))


def test_bad_input() -> None:
    model, x, t = network((4, 3), 0), inputs_for(5, 4, 1), targets_for("logistic", 5, 3, 2)
    with pytest.raises(ConfigError, match="must have the parameters' shapes"):
        hfbench.linearize(model, "logistic", x, t).jvp([torch.zeros(2)])
    with pytest.raises(NonFiniteError, match="not finite"):
        _ = hfbench.linearize(model, "logistic", x * float("inf"), t).value
    with pytest.raises(ConfigError, match="equally many"):
        hfbench.linearize(model, "logistic", x, t[:3])
    with pytest.raises(ConfigError, match="chunk"):
        hfbench.linearize(model, "logistic", x, t, chunk=0)
    with pytest.raises(ConfigError, match="two cases"):
        _ = Linearisation(model, "logistic", x[:1], t[:1]).variance_l1
    with pytest.raises(ConfigError, match="two cases"):
        Linearisation(model, "logistic", x[:1], t[:1]).variance_along(tuple(model.parameters()))
    with pytest.raises(ConfigError, match="requires_grad"):
        hfbench.linearize(nn.Tanh(), "logistic", x, x)


def test_a_loss_that_overflows_is_told_from_outputs_that_are_not_finite() -> None:
    model, x, t = network((4, 3), 0, torch.float32), inputs_for(5, 4, 1, torch.float32), torch.zeros(5, 3)
    with pytest.raises(
        NonFiniteError, match=r"is inf: the outputs, of up to [0-9.]+e\+25 in size, .*or too large for it"
    ):
        _ = hfbench.linearize(model, "least-squares", 1e25 * x, t).value
