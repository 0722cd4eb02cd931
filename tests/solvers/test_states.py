"""What the solvers' states claim about themselves, against recomputation from x."""

from __future__ import annotations

from itertools import islice, takewhile
from typing import Any

import numpy as np
import pytest
import torch
from support.systems import DenseSystem, DiagonalFactor, blocks, dense_system, flat, single_system

from hfbench.linalg.vector import Vector
from hfbench.parts.protocols import Breakdown
from hfbench.solvers.cg import CG
from hfbench.solvers.dense import Dense
from hfbench.solvers.lsmr import LSMR
from hfbench.solvers.lsqr import LSQR
from hfbench.solvers.minres import MINRES
from hfbench.solvers.preconditioners.identity import Unit
from hfbench.testing.problems import Problem, random_vector, rough_factor, unit_factor

SOLVERS = {"cg": CG(), "lsqr": LSQR(), "lsmr": LSMR(), "minres": MINRES()}
ALL = {**SOLVERS, "dense": Dense()}


class Counting:
    """Counts a system's products and passes everything else through."""

    def __init__(self, system: DenseSystem) -> None:
        self.system, self.halves = system, 0

    def __getattr__(self, name: str):
        return getattr(self.system, name)

    def multiply(self, v):
        self.halves += 2
        return self.system.multiply(v)

    def forward(self, v):
        self.halves += 1
        return self.system.forward(v)

    def adjoint(self, u):
        self.halves += 1
        return self.system.adjoint(u)


@pytest.fixture(params=["plain", "warm", "preconditioned", "both"])
def setting(request: pytest.FixtureRequest):
    system = dense_system("tall", 20.0, 0.05)
    rng = np.random.default_rng(1)
    m = np.diag(system.A) * rng.uniform(0.5, 2.0, 42)
    x0 = blocks(rng.standard_normal(42)) if request.param in ("warm", "both") else None
    if request.param in ("preconditioned", "both"):
        return system, x0, DiagonalFactor(m), m
    return system, x0, Unit(), np.ones(42)


@pytest.mark.parametrize("name", SOLVERS)
def test_state_tells_the_truth(name: str, setting) -> None:
    system, x0, M, m = setting
    g = flat(system.gradient)
    counting = Counting(system)
    for state in islice(SOLVERS[name].iterates(counting, x0, M), 20):
        x = flat(state.x)
        residual = -g - system.A @ x
        assert state.q == pytest.approx(system.q(x), rel=1e-9, abs=1e-12)
        expected = np.linalg.norm(residual / np.sqrt(m)) / np.linalg.norm(g / np.sqrt(m))
        assert state.relative_residual == pytest.approx(expected, rel=1e-6, abs=1e-12)
        assert state.products == counting.halves / 2
        assert state.breakdown is None


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("condition", [1e4, 1e7, 1e10])
@pytest.mark.parametrize("preconditioned", [False, True])
def test_state_tells_the_truth_in_float32(name: str, condition: float, preconditioned: bool) -> None:
    """Of an ill-conditioned A, over many more steps than its Krylov space has dimensions, in float64 from x.

    What is told may miss what x's own rounding moves: ε‖A‖‖x‖, here up to 1e-3 of ‖b‖.
    """
    system = single_system(condition)
    m = np.random.default_rng(1).uniform(0.5, 2.0, 42) if preconditioned else np.ones(42)
    M = DiagonalFactor(m)
    M.m = Vector(block.float() for block in M.m)
    g, best = flat(system.gradient), abs(system.q(np.linalg.solve(system.A, -flat(system.gradient))))
    states = list(islice(SOLVERS[name].iterates(system, None, M), 251))
    assert states[-1].k >= 200
    for state in states:
        x = flat(state.x)
        assert state.q == pytest.approx(system.q(x), abs=1e-4 * best)
        residual = np.linalg.norm((g + system.A @ x) / np.sqrt(m)) / np.linalg.norm(g / np.sqrt(m))
        assert state.relative_residual == pytest.approx(residual, abs=1e-3)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("exponent", [-70, -100, 50])
def test_the_size_of_the_gradient_changes_no_digit(name: str, warm: bool, exponent: int) -> None:
    """g times a power of two gives x times that, in float32, whose numbers do not hold the squares of residuals."""
    problem = Problem(dtype=torch.float32, right_hand_side="damping")
    A, _ = problem.dense
    M = unit_factor(len(A)) if name == "dense" else rough_factor(A)

    def states(scale: float) -> list[Any]:
        system = problem.system()
        system.gradient = system.gradient * scale
        x0 = problem.vector(random_vector(len(A))) * scale if warm else None
        coming = takewhile(lambda state: state.relative_residual > 1e-6, ALL[name].iterates(system, x0, M))
        return list(islice(coming, 40))

    scale = 2.0**exponent
    pairs = list(zip(states(1.0), states(scale), strict=True))
    assert pairs
    for plain, scaled in pairs:
        assert scaled.relative_residual == pytest.approx(plain.relative_residual, rel=1e-5)
        assert scaled.q == pytest.approx(plain.q * scale**2, rel=1e-5, abs=0.0)
        assert np.array_equal(flat(scaled.x), flat(plain.x * scale))


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solution_beyond_float32_is_infinite_and_raises_nothing(name: str) -> None:
    problem = Problem(dtype=torch.float32, damping=1e-28, decay=0.0, right_hand_side="damping")
    system = problem.system()
    system.gradient = system.gradient * 1e20
    system.linearisation.gauss_newton = lambda v: v.zeros_like()  # A = lambda I
    system.linearisation.jvp = lambda v: torch.zeros_like(system.linearisation.outputs)
    last = list(islice(SOLVERS[name].iterates(system, None, Unit()), 3))[-1]
    assert not last.x.isfinite()


@pytest.mark.parametrize("name", ["lsqr", "lsmr"])
def test_least_squares_norms(name: str, setting) -> None:
    system, x0, M, m = setting
    K = np.vstack([system.K, system.damping**0.5 * np.eye(42)])
    b = np.concatenate([system.b, np.zeros(42)])
    for state in islice(SOLVERS[name].iterates(system, x0, M), 12):
        r = b - K @ flat(state.x)
        assert state.residual_space_norm == pytest.approx(np.linalg.norm(r), rel=1e-8)
        assert state.operator_norm <= np.linalg.norm(K / np.sqrt(m)) * (1 + 1e-9)
        normal = np.linalg.norm((K.T @ r) / np.sqrt(m))
        assert state.backward_error == pytest.approx(normal / (state.operator_norm * np.linalg.norm(r)), rel=1e-6)


@pytest.mark.parametrize("name", ["lsqr", "lsmr"])
def test_the_operators_norm_is_that_on_the_krylov_space(name: str, setting) -> None:
    """‖B_k‖ = ‖Ã E⁻ᵀ V_k‖, V_k an orthonormal basis of the space that x_k is from: here by Gram and Schmidt, twice."""
    system, x0, M, m = setting
    A = system.A / np.sqrt(np.outer(m, m))
    start = -flat(system.gradient) - (0 if x0 is None else system.A @ flat(x0))
    V = np.empty((42, 0))
    v = start / np.sqrt(m)
    for state in islice(SOLVERS[name].iterates(system, x0, M), 1, 12):
        for _ in range(2):
            v = v - V @ (V.T @ v)
        V = np.column_stack([V, v / np.linalg.norm(v)])
        assert state.operator_norm == pytest.approx(np.sqrt(np.trace(V.T @ A @ V)), rel=1e-8)
        v = A @ V[:, -1]


def test_monotone_quantities(setting) -> None:
    """As the solvers declare them, as told and as recomputed from x."""
    system, x0, M, m = setting
    g = flat(system.gradient)
    for name, solver in SOLVERS.items():
        assert solver.monotone
        states = list(islice(solver.iterates(system, x0, M), 25))
        xs = [flat(state.x) for state in states]
        true = {
            "q": [system.q(x) for x in xs],
            "relative_residual": [np.linalg.norm((g + system.A @ x) / np.sqrt(m)) for x in xs],
        }
        for quantity in solver.monotone:
            for values in ([getattr(state, quantity) for state in states], true[quantity]):
                scale = 1e-12 * max(np.abs(values))
                assert (np.diff(values) <= scale).all(), (name, quantity)


def test_what_is_not_declared_monotone_is_not() -> None:
    system = dense_system("square", 100.0, 1e-3)
    for name in ("cg", "lsqr"):
        told = [s.relative_residual for s in islice(SOLVERS[name].iterates(system, None, Unit()), 25)]
        assert (np.diff(told) > 1e-3).any(), name
        assert SOLVERS[name].monotone == ("q",)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_states_x_is_a_snapshot(name: str, setting) -> None:
    system, x0, M, _ = setting
    kept = [(state.x, flat(state.x)) for state in islice(SOLVERS[name].iterates(system, x0, M), 12)]
    assert all(np.array_equal(flat(x), copy) for x, copy in kept)


@pytest.mark.parametrize("name", SOLVERS)
def test_zero_right_hand_side_is_a_breakdown(name: str) -> None:
    system = dense_system("tall", 20.0, 0.05)
    system.b = np.zeros(60)
    (state,) = SOLVERS[name].iterates(system, None, Unit())
    assert state.breakdown is Breakdown.ZERO_RIGHT_HAND_SIDE
    assert not flat(state.x).any()


@pytest.mark.parametrize("name", SOLVERS)
def test_ends_at_the_exact_solution(name: str) -> None:
    """A multiple of the identity is solved in one step, and the iterates end instead of dividing by zero."""
    system = DenseSystem(2.0 * np.eye(6), np.arange(1.0, 7.0))
    states = list(islice(SOLVERS[name].iterates(system, None, Unit()), 50))
    assert len(states) < 10
    assert np.allclose(flat(states[1].x), system.solution(), rtol=1e-12)


@pytest.mark.parametrize("name", SOLVERS)
def test_same_again(name: str) -> None:
    system = dense_system("square", 20.0, 0.05)
    first, second = ([flat(s.x) for s in islice(SOLVERS[name].iterates(system, None, Unit()), 10)] for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", ["cg", "minres"])
def test_nonpositive_curvature_is_a_breakdown(name: str) -> None:
    system = dense_system("square", 20.0)
    A = np.diag(np.r_[np.ones(41), -1.0])
    system.multiply = lambda v: blocks(A @ flat(v))  # type: ignore[method-assign]
    last = list(islice(SOLVERS[name].iterates(system, None, Unit()), 60))[-1]
    assert last.breakdown is Breakdown.NONPOSITIVE_CURVATURE


@pytest.mark.parametrize("name", SOLVERS)
def test_exact_preconditioner_needs_one_step(name: str) -> None:
    rng = np.random.default_rng(3)
    system = DenseSystem(np.diag(rng.uniform(0.1, 3.0, 12)), rng.standard_normal(12), 0.1)
    states = list(islice(SOLVERS[name].iterates(system, None, DiagonalFactor(np.diag(system.A))), 2))
    assert np.allclose(flat(states[1].x), system.solution(), rtol=1e-12)


@pytest.mark.parametrize("name", ["cg", "minres"])
def test_a_residual_that_is_rounding_alone_may_have_a_norm_below_zero(name: str) -> None:
    """rᵀM⁻¹r, whose sign is then that of what was rounded: the system is solved."""

    class Rounding(Unit):
        def solve(self, v):
            return v if v.norm() > 1e-10 else -v

    system = DenseSystem(np.diag(np.sqrt(np.tile([1.0, 2.0, 3.0], 3))), np.arange(1.0, 10.0))
    states = list(islice(SOLVERS[name].iterates(system, None, Rounding()), 20))
    assert states[-1].k == 3
    assert states[-1].relative_residual == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(flat(states[-1].x), system.solution(), rtol=1e-9)
