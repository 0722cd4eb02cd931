"""The dual solver: the exact solution by rows, with every loss, decay, warm start and momentum, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
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
    targets_for,
)

from hfbench import HessianFree
from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.weight_decay import decay_per_block
from hfbench.errors import ConfigError
from hfbench.inner_solve.solve import check_preconditioner, solve
from hfbench.inner_solve.system import GaussNewtonSystem
from hfbench.linalg.vector import Vector
from hfbench.parts.protocols import Breakdown, Stop
from hfbench.solvers.dual import Dual
from hfbench.solvers.preconditioners.identity import Unit
from hfbench.solvers.preconditioners.martens import Martens
from hfbench.solvers.stopping import RelativeProgress

MU, LAMBDA = 0.01, 1e-3
LOSSES = ["least-squares", "logistic", "softmax"]
CASES = {"wide": 6, "square": 14, "tall": 60}  # of three outputs, for 43 parameters


def gauss_newton(
    loss: str, shape: str, other_cases: bool = False, layout: str = "structured", damping: float = LAMBDA
) -> tuple[GaussNewtonSystem, NDArray[np.float64]]:
    """A network's system, and its matrix by functional autodiff."""
    n = CASES[shape]
    model, x, t = network((4, 5, 3), 0), inputs_for(n, 4, 1), targets_for(loss, n, 3, 2)
    J, H = dense_jacobian(model, x), dense_hessian(loss, model(x), t)
    G = (J.T @ H @ J).detach().numpy() / n
    decayed = np.concatenate([np.full(p.numel(), MU * (p.dim() > 1)) for p in model.parameters()])
    at = Linearisation(model, loss, x, t, layout=layout)
    gradient = at.gradient
    if other_cases:
        y, s = inputs_for(9, 4, 3), targets_for(loss, 9, 3, 4)
        gradient = Linearisation(model, loss, y, s, layout=layout).gradient
    mu_D = decay_per_block(list(model.parameters()), MU, "weights")
    g = gradient.add(at.parameters, at.layout.spread(mu_D))
    system = GaussNewtonSystem(at, g, damping, mu_D, shares_cases=not other_cases)
    return system, G + np.diag(decayed + damping)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shape", CASES)
@pytest.mark.parametrize("other_cases", [False, True])
@pytest.mark.parametrize("layout", ["structured", "flat"])
def test_the_start_and_the_solution(loss: str, shape: str, other_cases: bool, layout: str) -> None:
    system, A = gauss_newton(loss, shape, other_cases, layout)
    g, before = flat(system.gradient), system.linearisation.ledger.products
    for x0 in (None, system.gradient * 0.5):
        start, end = Dual().iterates(system, x0, Unit())
        assert (start.k, end.k, end.breakdown) == (0, 1, None)
        assert (start.products, end.products) == ((0, 1.5) if x0 is None else (1, 2.5))
        assert np.array_equal(flat(start.x), 0 * g if x0 is None else 0.5 * g)
        exact = np.linalg.solve(A, -g)
        assert np.linalg.norm(flat(end.x) - exact) <= 1e-8 * np.linalg.norm(exact)
        for state in (start, end):
            x = flat(state.x)
            assert state.q == pytest.approx(g @ x + 0.5 * x @ A @ x, rel=1e-9, abs=1e-14)
            residual = np.linalg.norm(g + A @ x) / np.linalg.norm(g)
            assert state.relative_residual == pytest.approx(residual, rel=1e-6, abs=1e-11)
    assert system.linearisation.ledger.products - before == 4


@pytest.mark.parametrize("loss", LOSSES)
def test_momentum_is_damping_towards_the_start(loss: str) -> None:
    """It minimises gᵀx + ½ xᵀ(G + mu D)x + lambda/2 ‖x - x_0‖², and tells q of the system itself."""
    system, A = gauss_newton(loss, "wide")
    g, x0 = flat(system.gradient), system.gradient * -0.7
    _, end = Dual(momentum=True).iterates(system, x0, Unit())
    exact = np.linalg.solve(A, -g + LAMBDA * flat(x0))
    assert np.linalg.norm(flat(end.x) - exact) <= 1e-8 * np.linalg.norm(exact)
    x = flat(end.x)
    assert end.q == pytest.approx(g @ x + 0.5 * x @ A @ x, rel=1e-9)
    _, without = Dual(momentum=True).iterates(system, None, Unit())
    np.testing.assert_allclose(flat(without.x), np.linalg.solve(A, -g), rtol=1e-7)


def test_small_damping_keeps_digits_where_the_residual_form_holds() -> None:
    """x = -Λ⁻¹J̃ᵀ(K + I)⁻¹ r cancels nothing, as x = (b - J̃ᵀ…)/lambda would."""
    system, A = gauss_newton("least-squares", "wide", damping=1e-9)
    assert system.right_hand_side_form == "residual"
    _, end = Dual().iterates(system, None, Unit())
    x, exact = flat(end.x), np.linalg.solve(A, -flat(system.gradient))
    error = x - exact
    assert math.sqrt(error @ A @ error / (exact @ A @ exact)) < 1e-7  # a condition of 1e9 in float64


def test_the_preconditioner_measures_the_residual_alone() -> None:
    system = dense_system("wide", 20.0, 0.05)
    m = np.random.default_rng(1).uniform(0.5, 2.0, 42)
    x0 = np.random.default_rng(2).standard_normal(42)
    start, end = Dual().iterates(system, blocks(x0), DiagonalFactor(m))
    b = system.K.T @ system.b
    expected = np.linalg.norm((b - system.A @ x0) / np.sqrt(m)) / np.linalg.norm(b / np.sqrt(m))
    assert start.relative_residual == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(flat(end.x), system.solution(), rtol=1e-9)


def test_a_zero_right_hand_side_costs_nothing() -> None:
    system = dense_system("tall", 20.0, 0.05)
    system.b = np.zeros(60)
    (state,) = Dual().iterates(system, blocks(np.ones(42)), Unit())
    assert (state.breakdown, state.products) == (Breakdown.ZERO_RIGHT_HAND_SIDE, 0)
    assert not flat(state.x).any()


def with_kernel(K: torch.Tensor) -> DenseSystem:
    system = DenseSystem(np.eye(6, 42), np.arange(1.0, 7.0), 0.5)
    system.kernel = lambda: K  # type: ignore[method-assign]
    return system


def test_a_kernel_that_is_not_positive_is_a_breakdown() -> None:
    system = with_kernel(torch.diag(torch.tensor([1.0, 1, 1, 1, 1, -3], dtype=torch.float64)))
    solution = solve(Dual(), system, blocks(np.ones(42)), Unit(), [])
    assert (solution.stop, solution.last.breakdown) == (Stop.BREAKDOWN, Breakdown.NONPOSITIVE_CURVATURE)
    assert (solution.last.k, solution.last.products) == (1, 1)
    assert np.array_equal(flat(solution.last.x), np.ones(42)), "the start is what is left"


def test_a_kernel_that_is_not_finite_ends_the_solve() -> None:
    solution = solve(Dual(), with_kernel(torch.full((6, 6), math.nan).double()), None, Unit(), [RelativeProgress()])
    assert (solution.stop, solution.last.k) == (Stop.NONFINITE, 0)


def test_more_rows_are_refused_before_the_kernel_is_formed() -> None:
    system = dense_system("tall", 20.0, 0.05)
    system.kernel = lambda: pytest.fail("formed")  # type: ignore[method-assign]
    wanted = "^most: .* at most 59 rows, .* but the curvature's batch has 60; raise it if 0 MiB"
    with pytest.raises(ConfigError, match=wanted):
        list(Dual(most=59).iterates(system, None, Unit()))


def test_rows_of_an_optimiser_are_refused_before_a_step() -> None:
    model = network((4, 5, 3), 0)
    optimizer = HessianFree(model, "least-squares", solver={"use": "dual", "most": 20}, preconditioner="identity")
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(ConfigError, match="at most 20 rows, .* has 21"):
        optimizer.step(inputs_for(7, 4, 1), targets_for("least-squares", 7, 3, 2))
    assert all(torch.equal(p, kept) for p, kept in zip(model.parameters(), before, strict=True))


def test_it_needs_a_positive_diagonal() -> None:
    system, _ = gauss_newton("least-squares", "wide", damping=0.0)
    with pytest.raises(ConfigError, match="^the kernel needs lambda > 0, or decay on every parameter, but lambda is 0"):
        list(Dual().iterates(system, None, Unit()))


def test_it_takes_no_preconditioner() -> None:
    with pytest.raises(ConfigError, match="^solver Dual takes no preconditioner, but got Martens"):
        check_preconditioner(Dual(), Martens())


def test_one_step_solves_a_linear_least_squares_problem_with_fewer_cases_than_weights() -> None:
    """The step of least norm, as of `numpy.linalg.lstsq`, by the pseudo-inverse."""
    model = network((12, 3), 0)
    x, t = inputs_for(8, 12, 1), targets_for("least-squares", 8, 3, 2)
    start = [p.detach().clone() for p in model.parameters()]
    r = (model(x) - t).detach().numpy()
    switches = {"initial_damping": 1e-12, "min_damping": 0.0}
    optimizer = HessianFree(model, "least-squares", solver="dual", preconditioner="identity", globalization=switches)
    result = optimizer.step(x, t)
    step = np.linalg.lstsq(np.c_[x.numpy(), np.ones(8)], -r, rcond=None)[0]
    W, c = (p.detach().numpy() - before.numpy() for p, before in zip(model.parameters(), start, strict=True))
    np.testing.assert_allclose(W, step[:12].T, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(c, step[12], rtol=1e-5, atol=1e-8)
    assert (result.stop_reason, result.inner_iterations, optimizer.ledger.products) == ("solved", 1, 1.0)


def test_single_precision_has_a_kernel_in_double_precision() -> None:
    model = network((4, 5, 3), 0, torch.float32)
    x, t = inputs_for(6, 4, 1, torch.float32), targets_for("least-squares", 6, 3, 2, torch.float32)
    at = Linearisation(model, "least-squares", x, t)
    system = GaussNewtonSystem(at, at.gradient, 1e-3, (0.0,) * 4, shares_cases=True)
    assert system.kernel().dtype is torch.float64
    _, end = Dual().iterates(system, None, Unit())
    assert isinstance(end.x, Vector)
    assert end.x[0].dtype is torch.float32
    assert end.relative_residual < 1e-3
