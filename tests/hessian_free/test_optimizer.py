"""The whole step: exact where it can be, every switch felt, resumed bit for bit, and nothing moved by an error."""

from __future__ import annotations

import copy
import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from support.small_steps import DTYPE, PLAIN, PRECONDITIONERS, SOLVERS, problem, run, weights
from support.systems import inputs_for, network, targets_for
from torch import Tensor, nn

from hfbench import HessianFree
from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.objective import objective
from hfbench.errors import ConfigError, NonFiniteError
from hfbench.hessian_free.globalization import Globalization
from hfbench.solvers.lsmr import LSMR
from hfbench.solvers.preconditioners.chapelle_erhan import ChapelleErhan
from hfbench.solvers.stopping import Residual

# ---------------------------------------------------------------- exactness


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("preconditioner", ["identity", "chapelle-erhan"])
def test_one_undamped_step_solves_a_linear_least_squares_problem(solver: str, preconditioner: str) -> None:
    model, x, t = nn.Linear(4, 3, dtype=DTYPE), inputs_for(30, 4, 1), targets_for("least-squares", 30, 3, 2)
    optimizer = HessianFree(
        model,
        "least-squares",
        solver=solver,
        preconditioner=preconditioner,
        rules=[Residual(rtol=1e-13)],
        globalization={**PLAIN, "initial_damping": 0.0},
    )
    result = optimizer.step(x, t)
    augmented = torch.cat([x, torch.ones(30, 1, dtype=DTYPE)], 1)
    exact = torch.linalg.lstsq(augmented, t).solution
    torch.testing.assert_close(torch.cat([model.weight.T, model.bias[None]]), exact, rtol=1e-8, atol=1e-9)
    assert (result.step_length, result.rho, result.next_damping) == (1.0, None, 0.0)
    assert result.right_hand_side == ("" if solver in ("cg", "minres") else "residual")


def test_with_decay_it_is_ridge_regression() -> None:
    model, x, t = nn.Linear(4, 3, bias=False, dtype=DTYPE), inputs_for(30, 4, 1), targets_for("least-squares", 30, 3, 2)
    settings = {"rules": [Residual(rtol=1e-12)], "globalization": {"initial_damping": 0.0}, "decay": 0.2}
    result = HessianFree(model, "least-squares", preconditioner="identity", **settings).step(x, t)
    ridge = torch.linalg.solve(x.T @ x / 30 + 0.2 * torch.eye(4, dtype=DTYPE), x.T @ t / 30)
    torch.testing.assert_close(model.weight.T, ridge, rtol=1e-8, atol=1e-9)
    assert result.rho == pytest.approx(1.0, rel=1e-8)
    assert result.objective_after == pytest.approx(objective(model, "least-squares", x, t, (0.2,)), rel=1e-12)
    assert result.objective_after == pytest.approx(result.objective_before + result.q, rel=1e-10)


# ---------------------------------------------------------------- every setting is felt

CHANGES: dict[str, dict[str, Any]] = {
    "solver": {"solver": "lsmr"},
    "preconditioner": {"preconditioner": "identity"},
    "rules": {"rules": [{"use": "fixed-iterations", "iterations": 6}]},
    "decay": {"decay": 0.1},
    "decay_mask": {"decay": 0.1, "decay_mask": "all"},
    "max_inner": {"max_inner": 3},
    "warm_start": {"globalization": {"warm_start": 0.0}},
    "adapt_damping": {"globalization": {"adapt_damping": False}},
    "initial_damping": {"globalization": {"initial_damping": 1.0}},
    "damping_decay": {"globalization": {"damping_decay": 0.5}},
    "rho_high": {"globalization": {"rho_high": 0.999999}},
}


def test_every_setting_changes_the_trajectory() -> None:
    """Compared at a damping low enough for solvers and iterates to differ."""
    ends = {}
    for name, settings in {"": {}, **CHANGES}.items():
        globalization = {"initial_damping": 0.03, **settings.get("globalization", {})}
        ends[name] = weights(run(4, **{**settings, "globalization": globalization})[0])
    names = list(ends)
    for i, a in enumerate(names):
        for b in names[:i]:
            assert not np.allclose(ends[a], ends[b], rtol=1e-9, atol=0), (a, b)


def test_variance() -> None:
    model, x, t = problem()
    expected = Linearisation(model, "logistic", x, t).variance_l1
    optimizer = HessianFree(model, decay=0.1)
    assert optimizer.step(x, t, evidence=("variance_l1",)).variance_l1 == pytest.approx(expected, rel=1e-12)
    assert optimizer.step(x, t).variance_l1 is None


def test_evidence_is_measured_where_it_is_asked_for() -> None:
    """`variance_inner` is along the gradient of f, weight decay included."""
    model, x, t = problem()
    optimizer = HessianFree(model, decay=0.1, layout="flat", chunk=7)
    at = Linearisation(model, "logistic", x, t)
    expected = at.variance_along(at.gradient + at.parameters * optimizer.mu_D)
    result = optimizer.step(x, t, (x[:12], t[:12]), evidence=["variance_inner"])
    assert result.variance_inner == pytest.approx(expected, rel=1e-9)
    assert result.variance_l1 is None
    before = weights(model)
    with pytest.raises(ConfigError, match=r"^evidence: .*variance_inner, but got 'variance_iner' \(did you mean"):
        optimizer.step(x, t, evidence=("variance_iner",))
    assert np.array_equal(weights(model), before)


# ---------------------------------------------------------------- two ways to the same trajectory


def test_parts_by_name_by_table_or_as_instances() -> None:
    ways = [
        {"solver": "lsmr", "preconditioner": "chapelle-erhan", "rules": ["residual"]},
        {
            "solver": {"use": "lsmr"},
            "preconditioner": {"use": "chapelle-erhan", "exponent": 1.0},
            "rules": [{"use": "residual", "rtol": 0.01}],
            "globalization": {},
        },
        {
            "solver": LSMR(),
            "preconditioner": ChapelleErhan(),
            "rules": [Residual()],
            "globalization": Globalization(),
            "seed": torch.Generator().manual_seed(0),
        },
    ]
    ends = [weights(run(2, **way)[0]) for way in ways]
    assert np.array_equal(ends[0], ends[1])
    assert np.array_equal(ends[0], ends[2])


# ---------------------------------------------------------------- resuming


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("through_a_file", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_interrupted_equals_uninterrupted(solver: str, through_a_file: bool, dtype: torch.dtype) -> None:
    def make() -> tuple[nn.Module, HessianFree, Tensor, Tensor]:
        model, x, t = problem(dtype=dtype)
        return model, HessianFree(model, solver=solver, preconditioner="chapelle-erhan", seed=5), x, t

    model, optimizer, x, t = make()
    for _ in range(3):
        optimizer.step(x, t, (x[:20], t[:20]))
    saved = {"optimizer": optimizer.state_dict(), "model": copy.deepcopy(model.state_dict())}
    if through_a_file:
        file = io.BytesIO()
        torch.save(saved, file)
        file.seek(0)
        saved = torch.load(file, weights_only=True)
    rows = [optimizer.step(x, t, (x[:20], t[:20])).to_row() for _ in range(3)]

    again, resumed, *_ = make()
    again.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    assert resumed.iteration == 3
    assert resumed.damping == rows[0]["damping"]
    assert [resumed.step(x, t, (x[:20], t[:20])).to_row() for _ in range(3)] == rows
    assert np.array_equal(weights(again), weights(model))


def test_a_saved_state_does_not_move_with_the_optimizer() -> None:
    model, x, t = problem()
    optimizer = HessianFree(model)
    optimizer.step(x, t)
    saved = optimizer.state_dict()
    frozen = copy.deepcopy(saved)
    optimizer.step(x, t)
    assert saved["param_groups"][0]["damping"] == frozen["param_groups"][0]["damping"]
    assert saved["param_groups"][0]["iteration"] == 1
    for i, kept in saved["state"].items():
        assert torch.equal(kept["warm_start"], frozen["state"][i]["warm_start"])


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("spoil", ["inputs", "targets", "weights"])
def test_not_finite_leaves_everything_as_it_was(spoil: str) -> None:
    model, x, t = problem()
    optimizer = HessianFree(model)
    optimizer.step(x, t)
    if spoil == "weights":
        with torch.no_grad():
            model[0].bias[0] = math.nan
    before, state = weights(model), copy.deepcopy(optimizer.state_dict())
    bad = {"inputs": (x * math.inf, t), "targets": (x, t * math.nan), "weights": (x, t)}[spoil]
    with pytest.raises(NonFiniteError, match="finite"):
        optimizer.step(*bad)
    np.testing.assert_array_equal(weights(model), before)
    assert optimizer.iteration == 1
    assert optimizer.damping == state["param_groups"][0]["damping"]


def test_curvature_cases_that_are_not_finite_are_refused_too() -> None:
    model, x, t = problem()
    before = weights(model)
    with pytest.raises(NonFiniteError):
        HessianFree(model).step(x, t, (x * math.nan, t))
    assert np.array_equal(weights(model), before)


# ---------------------------------------------------------------- edges


class Mean(nn.Module):
    """One parameter: z is it, whatever the case."""

    def __init__(self) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.zeros(2, dtype=DTYPE))

    def forward(self, x: Tensor) -> Tensor:
        return self.mu.expand(len(x), -1)


class Summed(nn.Module):
    """Two parameters that are added before use: autograd gives both the same gradient tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (nn.Parameter(torch.zeros(2, dtype=DTYPE)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.a + self.b)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("cases", [1, 6])
def test_models_of_one_parameter(solver: str, cases: int) -> None:
    """The mean of the targets, in one step."""
    model, t = Mean(), targets_for("least-squares", cases, 2, 1)
    settings = {"rules": [Residual(rtol=1e-12)], "globalization": {**PLAIN, "initial_damping": 0.0}}
    HessianFree(model, "least-squares", solver=solver, preconditioner="identity", **settings).step(t, t)
    torch.testing.assert_close(model.mu.detach(), t.mean(0))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("chunk", [None, 4])
def test_gradients_that_share_their_memory(solver: str, chunk: int | None) -> None:
    """a = b by symmetry, each -mean(g)/(2 + lambda)."""
    model, x = Summed(), inputs_for(6, 2, 0)
    settings = {"rules": [Residual(rtol=1e-12)], "globalization": {**PLAIN, "initial_damping": 0.5}, "chunk": chunk}
    HessianFree(model, "least-squares", solver=solver, preconditioner="identity", **settings).step(x, 0 * x)
    for block in (model.a, model.b):
        torch.testing.assert_close(block.detach(), -x.mean(0) / 2.5)


def test_weights_that_are_transposed_views_move_like_plain_ones() -> None:
    ends = []
    for transposed in (False, True):
        model, x, t = problem()
        if transposed:
            model[0].weight = nn.Parameter(model[0].weight.detach().T.contiguous().T)
            assert not model[0].weight.is_contiguous()
        optimizer = HessianFree(model, solver="lsmr")
        for _ in range(3):
            optimizer.step(x, t)
        ends.append(weights(model))
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_at_a_minimum_nothing_moves(solver: str) -> None:
    model, x, t = nn.Linear(2, 2, dtype=DTYPE), inputs_for(5, 2, 0), torch.zeros(5, 2, dtype=DTYPE)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.zero_()
    optimizer = HessianFree(model, "least-squares", solver=solver)
    for _ in range(2):
        result = optimizer.step(x, t)
    assert (result.stop_reason, result.q, result.step_norm) == ("breakdown", 0.0, 0.0)
    assert result.next_damping == 45.0
    assert not weights(model).any()


class Unrecorded(torch.autograd.Function):
    """A cube whose backward pass leaves no trace of itself, as hand-written ones often do; forward mode is there."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x**3

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> Tensor:
        return 3 * ctx.saved_tensors[0].detach() ** 2 * u.detach()

    @staticmethod
    def jvp(ctx: Any, v: Tensor) -> Tensor:
        return 3 * ctx.saved_tensors[0] ** 2 * v


class Cubed(nn.Module):
    def __init__(self, cube: Any) -> None:
        super().__init__()
        self.first, self.second, self.cube = nn.Linear(3, 4, dtype=DTYPE), nn.Linear(4, 2, dtype=DTYPE), cube

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.cube(self.first(x)))


def test_products_do_not_miss_what_a_backward_pass_did_not_record() -> None:
    x, t = inputs_for(9, 3, 0), targets_for("least-squares", 9, 2, 1)
    plain, unrecorded = Cubed(lambda z: z**3), Cubed(Unrecorded.apply)
    unrecorded.load_state_dict(plain.state_dict())
    v = [torch.ones_like(p) for p in plain.parameters()]
    a, b = (Linearisation(model, "least-squares", x, t) for model in (plain, unrecorded))
    torch.testing.assert_close(b.jvp(v), a.jvp(v))
    assert (a.product_mode, b.product_mode) == ("transpose", "forward")


def test_outputs_without_a_second_dimension() -> None:
    model = nn.Sequential(nn.Linear(3, 1, dtype=DTYPE), nn.Flatten(0))
    x, t = inputs_for(20, 3, 0), (inputs_for(20, 3, 0)[:, 0] > 0).double()
    optimizer = HessianFree(model, "logistic")
    results = [optimizer.step(x, t, evidence=("variance_l1",)) for _ in range(3)]
    assert results[-1].objective_after < results[0].objective_before


def test_it_works_where_gradients_are_switched_off_and_leaves_none() -> None:
    model, x, t = problem()
    with torch.no_grad():
        result = HessianFree(model, solver="lsqr").step(x, t)
    assert result.objective_after < result.objective_before
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


# ---------------------------------------------------------------- it optimises


def test_convex_logistic_regression_converges() -> None:
    model = nn.Linear(5, 1, dtype=DTYPE)
    x = inputs_for(80, 5, 0)
    t = (torch.sigmoid(x @ torch.arange(5.0, dtype=DTYPE)[:, None] - 1) > 0.5).double()
    optimizer = HessianFree(model, "logistic", decay=0.01, decay_mask="all")
    norms = [optimizer.step(x, t).gradient_norm for _ in range(25)]
    assert norms[-1] < 1e-4 * norms[0]
    best = torch.optim.LBFGS(model.parameters(), max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")
    found = objective(model, "logistic", x, t, optimizer.mu_D)

    def closure() -> Tensor:
        best.zero_grad()
        penalty = sum(0.005 * p.square().sum() for p in model.parameters())
        value = nn.functional.binary_cross_entropy_with_logits(model(x), t) + penalty
        value.backward()
        return value

    best.step(closure)
    assert found == pytest.approx(objective(model, "logistic", x, t, optimizer.mu_D), rel=1e-8)
    assert optimizer.damping < 1.0


def test_softmax_classification() -> None:
    """Three clusters, class indices as targets: all cases right in a few steps."""
    labels = torch.arange(60) % 3
    centres = 3 * inputs_for(3, 4, 0)
    x = centres[labels] + 0.3 * inputs_for(60, 4, 1)
    model = network((4, 8, 3), 2)
    settings = {"solver": "lsmr", "preconditioner": "chapelle-erhan", "globalization": {"initial_damping": 1.0}}
    optimizer = HessianFree(model, "softmax", **settings)
    for _ in range(10):
        result = optimizer.step(x, labels)
    assert result.objective_after < 0.05
    assert bool((model(x).argmax(1) == labels).all())


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_pair_trains_an_autoencoder(solver: str, preconditioner: str, dtype: torch.dtype) -> None:
    model, x = network((8, 6, 3, 6, 8), 0, dtype), targets_for("logistic", 60, 8, 1, dtype).round()
    optimizer = HessianFree(model, solver=solver, preconditioner=preconditioner, decay=1e-5)
    results = [optimizer.step(x, x, (x[:20], x[:20])) for _ in range(12)]
    values = [results[0].objective_before, *(r.objective_after for r in results)]
    assert all(after <= before * (1 + 1e-6) for before, after in zip(values[:-1], values[1:], strict=True))
    assert values[-1] < 0.95 * values[0]


def test_a_model_with_convolutions_trains() -> None:
    """A user's own layers take the general paths."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 2)).double()
    x = torch.randn(24, 1, 6, 6, generator=torch.Generator().manual_seed(1), dtype=DTYPE)
    labels = (x.mean((1, 2, 3)) > 0).long()
    optimizer = HessianFree(model, "softmax", globalization={"initial_damping": 1.0})
    results = [optimizer.step(x, labels, evidence=("variance_l1",)) for _ in range(8)]
    assert results[-1].objective_after < 0.5 * results[0].objective_before
    assert all(r.variance_l1 > 0 for r in results)
    assert results[0].product_mode == "transpose"


def test_an_error_of_the_models_own_tells_the_shape_of_the_callers_inputs() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        HessianFree(network((4, 2), 0), "logistic").step(inputs_for(12, 3, 1), targets_for("logistic", 12, 2, 2))
    assert "(the inputs given to HessianFree have shape (12, 3))" in caught.value.__notes__
