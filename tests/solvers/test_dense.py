"""The dense solver: the exact solution in any layout, what it costs, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.systems import (
    DenseSystem,
    DiagonalFactor,
    blocks,
    dense_hessian,
    dense_jacobian,
    dense_system,
    flat,
    inputs_for,
    network,
    single_system,
    targets_for,
)

from hfbench import HessianFree
from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.weight_decay import decay_per_block
from hfbench.errors import ConfigError
from hfbench.inner_solve.solve import check_preconditioner, solve
from hfbench.inner_solve.system import GaussNewtonSystem
from hfbench.parts.protocols import Breakdown, Stop
from hfbench.solvers.cg import CG
from hfbench.solvers.dense import Dense, dense_matrix
from hfbench.solvers.preconditioners.identity import Identity, Unit
from hfbench.solvers.preconditioners.martens import Martens
from hfbench.solvers.stopping import RelativeProgress

MU = 0.01


def gauss_newton(layout: str, dtype: torch.dtype = torch.float64) -> tuple[GaussNewtonSystem, np.ndarray]:
    """A network's system, and its matrix by functional autodiff."""
    model, x, t = network((4, 5, 3), 0), inputs_for(12, 4, 1), targets_for("softmax", 12, 3, 2)
    J, H = dense_jacobian(model, x), dense_hessian("softmax", model(x), t)
    G = (J.T @ H @ J).detach().numpy() / len(x)
    decayed = np.concatenate([np.full(p.numel(), MU * (p.dim() > 1)) for p in model.parameters()])
    at = Linearisation(model.to(dtype), "softmax", x.to(dtype), t, layout=layout)
    mu_D = decay_per_block(list(model.parameters()), MU, "weights")
    system = GaussNewtonSystem(at, at.gradient, 0.1, mu_D, shares_cases=True)
    return system, G + np.diag(decayed + 0.1)


@pytest.mark.parametrize("layout", ["structured", "flat"])
def test_the_matrix_is_that_of_the_system(layout: str) -> None:
    system, A = gauss_newton(layout)
    np.testing.assert_allclose(dense_matrix(system).numpy(), A, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("layout", ["structured", "flat"])
@pytest.mark.parametrize("warm", [False, True])
def test_the_start_and_the_solution(layout: str, warm: bool) -> None:
    system, A = gauss_newton(layout)
    g, P = flat(system.gradient), len(A)
    x0 = system.gradient * 0.5 if warm else None
    before = system.linearisation.ledger.products
    start, end = Dense().iterates(system, x0, Unit())
    assert system.linearisation.ledger.products - before == end.products == P + 1 + warm
    assert (start.products, start.k, end.k, end.breakdown) == (int(warm), 0, 1, None)
    assert np.array_equal(flat(start.x), 0.5 * g if warm else 0 * g)
    for state in (start, end):
        x = flat(state.x)
        assert state.q == pytest.approx(g @ x + 0.5 * x @ A @ x, rel=1e-10, abs=1e-14)
        residual = np.linalg.norm(g + A @ x) / np.linalg.norm(g)
        assert state.relative_residual == pytest.approx(residual, rel=1e-8, abs=1e-12)
    np.testing.assert_allclose(flat(end.x), np.linalg.solve(A, -g), rtol=1e-9)


def test_single_precision_is_solved_in_double_precision() -> None:
    system, _ = gauss_newton("structured", torch.float32)
    _, end = Dense().iterates(system, None, Unit())
    A, b = dense_matrix(system).numpy(), -flat(system.gradient)
    assert end.x[0].dtype is torch.float32
    np.testing.assert_allclose(flat(end.x), np.linalg.solve(A, b), rtol=1e-6, atol=1e-9)
    assert end.q == pytest.approx(-0.5 * b @ np.linalg.solve(A, b), rel=1e-6)
    assert 0 < end.relative_residual < 1e-6


@pytest.mark.parametrize("condition", [1e4, 1e7, 1e8])
def test_the_state_tells_the_truth_in_float32(condition: float) -> None:
    """The matrix has the rounding of P products, so that its own q may lie beyond the minimum of the true one."""
    system = single_system(condition)
    g = flat(system.gradient)
    best = abs(system.q(np.linalg.solve(system.A, -g)))
    _, end = Dense().iterates(system, None, Unit())
    x = flat(end.x)
    assert end.q == pytest.approx(system.q(x), abs=1e-3 * best)
    residual = np.linalg.norm(g + system.A @ x) / np.linalg.norm(g)
    assert end.relative_residual == pytest.approx(residual, abs=1e-3)


def test_the_preconditioner_measures_the_residual_alone() -> None:
    system = dense_system("tall", 20.0, 0.05)
    m = np.random.default_rng(1).uniform(0.5, 2.0, 42)
    x0 = np.random.default_rng(2).standard_normal(42)
    start, end = Dense().iterates(system, blocks(x0), DiagonalFactor(m))
    b = system.K.T @ system.b
    expected = np.linalg.norm((b - system.A @ x0) / np.sqrt(m)) / np.linalg.norm(b / np.sqrt(m))
    assert start.relative_residual == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(flat(end.x), system.solution(), rtol=1e-9)


def test_a_zero_right_hand_side_costs_nothing() -> None:
    system = dense_system("tall", 20.0, 0.05)
    system.b = np.zeros(60)
    (state,) = Dense().iterates(system, blocks(np.ones(42)), Unit())
    assert (state.breakdown, state.products) == (Breakdown.ZERO_RIGHT_HAND_SIDE, 0)
    assert not flat(state.x).any()


def test_a_matrix_that_is_not_positive_definite_is_a_breakdown() -> None:
    system = DenseSystem(np.eye(6), np.arange(1.0, 7.0))
    system.multiply = lambda v: blocks(np.diag([1, 1, 1, 1, 1, -1]) @ flat(v))  # type: ignore[method-assign]
    solution = solve(Dense(), system, blocks(np.ones(6)), Unit(), [])
    assert (solution.stop, solution.last.breakdown) == (Stop.BREAKDOWN, Breakdown.NONPOSITIVE_CURVATURE)
    assert (solution.last.k, solution.last.products) == (1, 7)
    assert np.array_equal(flat(solution.last.x), np.ones(6)), "the start is what is left"


def test_what_is_not_finite_is_no_curvature() -> None:
    system = DenseSystem(np.eye(6), np.arange(1.0, 7.0))
    system.multiply = lambda v: v * math.nan  # type: ignore[method-assign]
    solution = solve(Dense(), system, None, Unit(), [RelativeProgress()])
    assert (solution.stop, solution.last.k) == (Stop.NONFINITE, 0)


def test_larger_models_are_refused_before_anything_is_done() -> None:
    system = dense_system("tall", 20.0, 0.05)
    with pytest.raises(ConfigError, match="^most: .* at most 41 parameters, but the model has 42; raise it if"):
        next(iter(Dense(most=41).iterates(system, None, Unit())))
    assert len(list(Dense(most=42).iterates(system, None, Unit()))) == 2


# ---------------------------------------------------------------- a preconditioner is not dropped silently


def test_a_solver_that_takes_no_preconditioner_takes_identity_only() -> None:
    check_preconditioner(Dense(), Identity())
    check_preconditioner(CG(), Martens())
    wanted = "^solver Dense takes no preconditioner, but got Martens: use identity, or another solver.$"
    with pytest.raises(ConfigError, match=wanted):
        check_preconditioner(Dense(), Martens())
    with pytest.raises(ConfigError, match=wanted):
        HessianFree(network((4, 3), 0), solver="dense")


@pytest.mark.parametrize("layout", ["structured", "flat"])
def test_one_undamped_step_solves_a_linear_least_squares_problem(layout: str) -> None:
    model = network((4, 3), 0)
    x, t = inputs_for(30, 4, 1), targets_for("least-squares", 30, 3, 2)
    switches = {"initial_damping": 1e-12, "min_damping": 0.0}
    optimizer = HessianFree(
        model, "least-squares", solver="dense", preconditioner="identity", layout=layout, globalization=switches
    )
    result = optimizer.step(x, t)
    design = np.c_[x.numpy(), np.ones(30)]
    exact = np.linalg.lstsq(design, t.numpy(), rcond=None)[0]
    np.testing.assert_allclose(model[0].weight.detach().numpy(), exact[:4].T, rtol=1e-7)
    assert (result.stop_reason, result.inner_iterations, optimizer.ledger.products) == ("solved", 1, 16)
