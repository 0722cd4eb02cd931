"""Products in every precision against the dense Jacobian in float64, on every kind of model; what cannot be cast."""

from __future__ import annotations

import copy
import math
from functools import cached_property

import pytest
import torch
from support.systems import OnceDifferentiable, dense_hessian, dense_jacobian, flat
from torch import Tensor, nn

import hfbench
from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.work_ledger import Ledger
from hfbench.errors import ConfigError
from hfbench.linalg import precision
from hfbench.linalg.vector import Vector

ROUNDING = {"float64": 2.0**-53, "float32": 2.0**-24, "bfloat16": 2.0**-9}
LOSS = "logistic"
CASES = 12


@pytest.fixture(autouse=True)
def bfloat16_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernels are on every CPU, fast or not."""
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    monkeypatch.setattr(precision, "NARROW", 0)


# ---------------------------------------------------------------- models of every kind


class Tied(nn.Module):
    """An autoencoder whose decoder has the encoder's weights, transposed, with a frozen scale."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.bias = nn.Linear(6, 4), nn.Parameter(torch.randn(6))
        self.scale = nn.Parameter(torch.rand(6) + 0.5, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(torch.tanh(self.encode(x)), self.encode.weight.T, self.bias) * self.scale


class Buffered(nn.Module):
    """Constants as buffers, floating and not."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(6, 5), nn.BatchNorm1d(5).eval()
        self.register_buffer("mean", torch.randn(6))
        self.register_buffer("order", torch.tensor([3, 1, 0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layer(x - self.mean))[:, self.order]


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(2, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x.reshape(len(x), 3, 2))[0][:, -1])


class Words(nn.Module):
    """Integer inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(7, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.sigmoid(self.table(x).mean(1)))


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 3))


def convolutional() -> nn.Module:
    return nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3))


MODELS = [dense, convolutional, Recurrent, Tied, Buffered, Words]


class Problem:
    """A model with float32 weights, cases, and the exact products at them."""

    def __init__(self, kind: type[nn.Module]) -> None:
        torch.manual_seed(1)
        self.model = kind()
        self.x = torch.randint(7, (CASES, 3)) if kind is Words else torch.randn(CASES, 6)
        self.t = torch.rand(CASES, *self.model(self.x).shape[1:])
        self.v, self.w = (Vector(torch.randn_like(p) for p in trained(self.model)) for _ in range(2))
        self.u = torch.randn_like(self.t)

    @cached_property
    def exact(self) -> tuple[nn.Module, Tensor]:
        """Model and inputs in float64."""
        x = self.x.double() if self.x.is_floating_point() else self.x
        return copy.deepcopy(self.model).double(), x

    @cached_property
    def J(self) -> Tensor:
        return dense_jacobian(*self.exact).detach()

    @cached_property
    def H(self) -> Tensor:
        model, x = self.exact
        return dense_hessian(LOSS, model(x), self.t.double())

    def at(self, name: str, **settings: object) -> Linearisation:
        return hfbench.linearize(self.model, LOSS, self.x, self.t, precision=name, **settings)  # type: ignore[arg-type]


def trained(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def column(v: Vector) -> Tensor:
    return torch.tensor(flat(v))


def distance(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).norm() / exact.norm())


# ---------------------------------------------------------------- right, to the precision's rounding


@pytest.mark.parametrize("name", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("chunk", [None, 5])
@pytest.mark.parametrize("kind", MODELS)
def test_products_equal_the_dense_ones(kind: type[nn.Module], name: str, chunk: int | None) -> None:
    of = Problem(kind)
    at = of.at(name, chunk=chunk)
    most = 12 * max(ROUNDING[name], ROUNDING["float32"])  # results are in the weights' dtype
    V = column(of.v)
    Jv, Ju, Gv = at.jvp(of.v), at.vjp(of.u), at.gauss_newton(of.v)
    assert {Jv.dtype, Ju[0].dtype, Gv[0].dtype} == {torch.float32}
    assert distance(Jv.reshape(-1), of.J @ V) < most
    assert distance(column(Ju), of.J.T @ of.u.double().reshape(-1)) < most
    assert distance(column(Gv), of.J.T @ (of.H @ (of.J @ V)) / CASES) < most
    assert at.precision.name == name


@pytest.mark.parametrize("name", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("kind", MODELS)
def test_the_adjoint_is_the_transpose_and_g_symmetric_and_positive(kind: type[nn.Module], name: str) -> None:
    of = Problem(kind)
    at = of.at(name)
    most = 4 * max(ROUNDING[name], ROUNDING["float32"])
    Jv = at.jvp(of.v).double()
    across = column(at.vjp(of.u)) @ column(of.v)
    gap = abs(float((of.u.double() * Jv).sum() - across)) / float(of.u.norm() * Jv.norm())
    assert gap < most
    Gv, Gw = column(at.gauss_newton(of.v)), column(at.gauss_newton(of.w))
    v, w = column(of.v), column(of.w)
    assert float(v @ Gv) > 0
    assert abs(float(w @ Gv - v @ Gw)) < most * float((v @ Gv) * (w @ Gw)) ** 0.5 * 4


def test_low_precision_is_low() -> None:
    """What the tests above allow, bfloat16 needs: it is taken indeed."""
    of = Problem(dense)
    exact = of.J @ column(of.v)
    errors = [distance(of.at(name).jvp(of.v).reshape(-1), exact) for name in ("float64", "float32", "bfloat16")]
    assert errors[0] < ROUNDING["float32"] < errors[1] * 10
    assert errors[2] > ROUNDING["bfloat16"] / 4


def test_small_and_large_vectors_lose_no_more() -> None:
    """bfloat16 has the exponents of float32: what a product is scaled by changes its digits by rounding alone."""
    of = Problem(dense)
    at = of.at("bfloat16")
    plain = column(at.gauss_newton(of.v))
    for scale in (2.0**-60, 2.0**60):
        torch.testing.assert_close(column(at.gauss_newton(of.v * scale)) / scale, plain, rtol=1e-6, atol=0)


def test_everything_else_is_of_the_weights_precision() -> None:
    of = Problem(dense)
    plain, low = of.at("parameters"), of.at("bfloat16")
    low.gauss_newton(of.v)  # whatever came before
    assert torch.equal(plain.outputs, low.outputs)
    assert plain.value == low.value
    assert all(torch.equal(a, b) for a, b in zip(plain.gradient, low.gradient, strict=True))
    sums = (at.squared_sums(of.u) for at in (plain, low))
    assert all(torch.equal(a, b) for a, b in zip(*sums, strict=True))
    assert (plain.variance_l1, plain.variance_along(of.v)) == (low.variance_l1, low.variance_along(of.v))


def test_the_weights_own_precision_by_name_is_the_same_bit_for_bit() -> None:
    of = Problem(dense)
    a, b = (of.at(name).gauss_newton(of.v) for name in ("parameters", "float32"))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


# ---------------------------------------------------------------- what is recorded, and counted


def test_the_graph_of_another_precision_counts_a_forward_pass() -> None:
    of, ledger = Problem(dense), Ledger()
    at = Linearisation(of.model, LOSS, of.x, of.t, precision="bfloat16", ledger=ledger)
    assert ledger.work == 0, "nothing is recorded before it is needed"
    assert math.isfinite(at.value)
    assert (ledger.forward, "kept" in vars(at)) == (CASES, False), "outputs alone record nothing"
    at.gauss_newton(of.v)
    at.gauss_newton(of.v)
    assert (ledger.forward, ledger.products, ledger.jvp, ledger.vjp) == (2 * CASES, 2.0, 2 * CASES, 2 * CASES)
    assert "kept" not in vars(at)
    at.squared_sums(of.u)
    assert (ledger.forward, "kept" in vars(at)) == (3 * CASES, True)


def test_a_gradient_and_products_take_two_forward_passes() -> None:
    of, ledger = Problem(dense), Ledger()
    at = Linearisation(of.model, LOSS, of.x, of.t, precision="bfloat16", ledger=ledger)
    assert at.gradient.norm() > 0
    at.gauss_newton(of.v)
    assert ledger.forward == 2 * CASES


# ---------------------------------------------------------------- models that are special


class Constant(nn.Module):
    """Multiplies by a matrix that it makes itself, in one precision."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) @ torch.eye(6)


class Solves(nn.Module):
    """An operation without a kernel for bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.solve(torch.eye(6, dtype=x.dtype) * 2, self.layer(x).T).T


@pytest.mark.parametrize("kind", [Constant, Solves])
def test_a_model_that_does_not_run_in_it_is_named_and_runs_in_its_own(kind: type[nn.Module]) -> None:
    of = Problem(kind)
    with pytest.raises(ConfigError, match="precision: the model must run in bfloat16 .*Take precision 'parameters'"):
        of.at("bfloat16").gauss_newton(of.v)
    assert of.at("parameters").gauss_newton(of.v).norm() > 0
    optimizer = hfbench.HessianFree(of.model, LOSS, precision="bfloat16")
    before = [p.clone() for p in of.model.parameters()]
    with pytest.raises(ConfigError, match="precision"):
        optimizer.step(of.x, of.t)
    assert all(torch.equal(a, b) for a, b in zip(before, of.model.parameters(), strict=True))


class OfThirdDtype(nn.Module):
    """A frozen table in half precision, cast where it is used, and outputs in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(6).half(), requires_grad=False)
        self.layer = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x * self.table.to(x.dtype)).float()


class Fused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return OnceDifferentiable.apply(self.layer(x))


@pytest.mark.parametrize(("kind", "mode"), [(OfThirdDtype, "transpose"), (Fused, "forward")])
def test_a_third_dtype_is_the_models_own_affair_and_forward_mode_serves_too(kind: type[nn.Module], mode: str) -> None:
    torch.manual_seed(0)
    model, x, t = kind(), torch.randn(CASES, 6), torch.rand(CASES, 3)
    plain, low = (hfbench.linearize(model, LOSS, x, t, precision=name) for name in ("float32", "bfloat16"))
    v = Vector(torch.randn_like(p) for p in trained(model))
    assert distance(low.jvp(v), plain.jvp(v).double()) < 12 * ROUNDING["bfloat16"]
    assert low.product_mode == mode


# ---------------------------------------------------------------- in the optimiser


@pytest.mark.parametrize("solver", ["cg", "lsmr", "lsqr", "minres"])
@pytest.mark.parametrize("settings", [{}, {"chunk": 5}, {"layout": "flat"}])
def test_training_goes_on_in_bfloat16(solver: str, settings: dict[str, object]) -> None:
    of = Problem(dense)
    optimizer = hfbench.HessianFree(of.model, LOSS, solver=solver, precision="bfloat16", decay=1e-4, **settings)
    results = [optimizer.step(of.x, of.t, curvature=(of.x[:8], of.t[:8])) for _ in range(4)]
    assert results[-1].objective_after < results[0].objective_before
    assert {result.precision for result in results} == {"bfloat16"}


def test_a_saved_state_is_of_any_precision() -> None:
    """Interrupted and resumed is as uninterrupted, and the state says nothing of the precision."""
    of = Problem(dense)
    whole, model = copy.deepcopy(of.model), copy.deepcopy(of.model)
    uninterrupted = hfbench.HessianFree(whole, LOSS, precision="bfloat16")
    first = hfbench.HessianFree(model, LOSS, precision="bfloat16")
    for _ in range(2):
        uninterrupted.step(of.x, of.t)
    first.step(of.x, of.t)
    state = first.state_dict()
    assert {block.dtype for one in state["state"].values() for block in one.values()} == {torch.float32}
    resumed = hfbench.HessianFree(model, LOSS, precision="bfloat16")
    resumed.load_state_dict(state)
    resumed.step(of.x, of.t)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), model.parameters(), strict=True))
    hfbench.HessianFree(model, LOSS).load_state_dict(state)
