"""The driver on scripted iterates: who ends a solve, and in which order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from support.systems import DenseSystem, dense_system, flat

from hfbench import registry
from hfbench.errors import ConfigError
from hfbench.hessian_free.optimizer import HessianFree
from hfbench.inner_solve.solve import Solution, check_rules, solve
from hfbench.linalg.vector import Vector
from hfbench.parts.protocols import Breakdown, SolverState, Stop
from hfbench.solvers.cg import CG
from hfbench.solvers.preconditioners.identity import Unit
from hfbench.solvers.stopping import BackwardError, FixedIterations, FixedWork, RelativeProgress

SOLVERS = ["cg", "lsmr", "lsqr", "minres"]


@dataclass
class State:
    k: int
    q: float
    products: float = 0.0
    breakdown: Breakdown | None = None
    x: Any = None


class Scripted:
    """Yields what it is given, and notes how far it was asked."""

    def __init__(self, states: list[State]) -> None:
        self.states, self.asked = states, 0

    def iterates(self, system: Any, x0: Vector | None, preconditioner: Any) -> Iterator[State]:
        for state in self.states:
            self.asked += 1
            yield state


def descending(steps: int) -> list[State]:
    return [State(k, -float(k), float(k)) for k in range(steps)]


def run(states: list[State], rules: Any = (), recorders: Any = (), most: int = 250) -> tuple[Solution, Scripted]:
    solver = Scripted(states)
    return solve(solver, None, None, Unit(), rules, recorders, most), solver  # type: ignore[arg-type]


def test_the_maximum_ends_a_solve() -> None:
    solution, solver = run(descending(100), most=7)
    assert (solution.last.k, solution.stop) == (7, Stop.MAX_ITERATIONS)
    assert solver.asked == 8, "no state is computed beyond the last"


def test_iterates_that_end_have_solved_the_system() -> None:
    solution, _ = run(descending(4))
    assert (solution.last.k, solution.stop) == (3, Stop.SOLVED)


def test_the_first_rule_in_the_list_names_the_reason() -> None:
    rules = [FixedWork(products=5), FixedIterations(iterations=5)]
    assert run(descending(20), rules)[0].stop is Stop.FIXED_WORK
    assert run(descending(20), rules[::-1])[0].stop is Stop.FIXED_ITERATIONS
    assert run(descending(20), [FixedWork(products=9), FixedIterations(iterations=5)])[0].last.k == 5
    assert run(descending(20), [FixedIterations(iterations=5)], most=5)[0].stop is Stop.FIXED_ITERATIONS


def test_every_rule_sees_every_state() -> None:
    """Also those after another rule in the list has already been asked."""
    seen: dict[str, list[int]] = {"a": [], "b": []}

    class Watching:
        needs = ("k",)

        def __init__(self, name: str) -> None:
            self.name = name

        def begin(self) -> Callable[[Any], Stop | None]:
            return lambda state: seen[self.name].append(state.k)

    run(descending(5), [Watching("a"), Watching("b")])
    assert seen == {"a": [0, 1, 2, 3, 4], "b": [0, 1, 2, 3, 4]}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_state_that_is_not_finite_ends_the_solve_before_it(bad: float) -> None:
    states, recorded = descending(10), []
    states[4].q = bad
    solution, _ = run(states, [FixedIterations(iterations=4)], [recorded.append])
    assert (solution.last, solution.stop) == (states[3], Stop.NONFINITE)
    assert recorded == states[:4]


class Overflowing(DenseSystem):
    """A system whose products turn NaN, or infinite, after so many."""

    bad, left = math.nan, 8

    def _maybe(self, v: Vector) -> Vector:
        self.left -= 1
        return v if self.left >= 0 else Vector(torch.full_like(block, self.bad) for block in v)

    def multiply(self, v: Vector) -> Vector:
        return self._maybe(super().multiply(v))

    def forward(self, v: Vector) -> Vector:
        return self._maybe(super().forward(v))

    def adjoint(self, u: Vector) -> Vector:
        return self._maybe(super().adjoint(u))


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("products", [1, 2, 8, 9])
@pytest.mark.filterwarnings("ignore:invalid value encountered in matmul")
def test_solvers_let_the_driver_see_what_is_not_finite(name: str, bad: float, products: int) -> None:
    plain = dense_system("tall", 20.0, 0.05)
    system = Overflowing(plain.K, plain.b, plain.damping)
    system.bad, system.left = bad, products
    solution = solve(registry.build("solver", name), system, None, Unit(), [])
    assert solution.stop is Stop.NONFINITE
    assert np.isfinite(flat(solution.last.x)).all()
    assert plain.q(flat(solution.last.x)) <= 0


def test_breakdown_ends_a_solve_at_its_state() -> None:
    states = descending(10)
    states[3].breakdown = Breakdown.NONPOSITIVE_CURVATURE
    solution, _ = run(states, [FixedIterations(iterations=3)])
    assert (solution.last, solution.stop) == (states[3], Stop.BREAKDOWN)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("warm", [False, True])
def test_without_a_gradient_the_solution_is_zero(name: str, warm: bool) -> None:
    """Whatever the start; and the state can be asked everything."""
    system = dense_system("tall", 20.0, 0.05)
    x0 = system.gradient.clone() if warm else None
    system.b = np.zeros(60)
    solution = solve(registry.build("solver", name), system, x0, Unit(), [RelativeProgress()])
    assert (solution.stop, solution.last.k, solution.last.q) == (Stop.BREAKDOWN, 0, 0.0)
    assert not flat(solution.last.x).any()
    assert solution.last.relative_residual == 0.0


def test_a_rule_must_find_what_it_needs() -> None:
    with pytest.raises(ConfigError, match="BackwardError reads backward_error, which the states of CG do not have"):
        solve(CG(), dense_system("tall", 20.0, 0.05), None, Unit(), [BackwardError()])
    for name in ("lsmr", "lsqr"):
        solver, system = registry.build("solver", name), dense_system("tall", 20.0, 0.05)
        solution = solve(solver, system, None, Unit(), [BackwardError()])
        assert solution.stop is Stop.BACKWARD_ERROR


def test_what_a_rule_needs_is_checked_before_anything_is_solved() -> None:
    with pytest.raises(ConfigError, match="BackwardError reads backward_error, which the states of CG do not have"):
        check_rules([RelativeProgress(), BackwardError()], CG())
    with pytest.raises(ConfigError, match="BackwardError reads backward_error"):
        HessianFree(torch.nn.Linear(2, 1), solver="cg", rules=["backward-error"])
    for name in ("lsmr", "lsqr"):
        check_rules([BackwardError(), FixedIterations(), FixedWork()], registry.build("solver", name))


@pytest.mark.parametrize("yielded", [Any, Iterator[Any], Iterator[SolverState], "Iterator[Unheard]", None])
def test_a_solver_that_does_not_say_what_it_yields_is_given_its_chance(yielded: Any) -> None:
    class Silent:
        def iterates(self, system: Any, x0: Any, preconditioner: Any):  # type: ignore[no-untyped-def]
            yield

    if yielded is not None:
        Silent.iterates.__annotations__["return"] = yielded
    check_rules([BackwardError()], Silent())


def test_no_state_at_all_is_an_error() -> None:
    with pytest.raises(ConfigError, match="must begin with a state 0"):
        run([])
