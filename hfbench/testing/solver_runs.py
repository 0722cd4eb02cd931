"""Runs of an inner solver on the problems of its contract, each state checked as it comes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hfbench.curvature.loss import LOSSES
from hfbench.inner_solve.system import GaussNewtonSystem
from hfbench.linalg.vector import Vector
from hfbench.parts.protocols import InnerSolver, SolverState
from hfbench.testing.contract import Contract, flat, require
from hfbench.testing.kinds import NAMES, answer_in_words, require_state
from hfbench.testing.problems import DenseFactor, Problem, random_vector, rough_factor, unit_factor
from hfbench.testing.systems import Counted, ProductsDone

LONGEST = 500  # steps given to a slow solver; steepest descent takes less than a hundred here


@dataclass(frozen=True)
class SolverStep:
    """A state when it was yielded, and the products that the system had counted by then."""

    state: SolverState
    x: Tensor
    counted: float
    in_ledger: float  # products
    done: float  # likewise, by whatever way the solver came to them


class SolverRuns(Contract):
    """The solver under test, its variants of a problem, and the steps that it takes."""

    def solver(self) -> InnerSolver:
        solver: InnerSolver = self.built()
        return solver

    def _variants(self) -> Iterator[tuple[Problem, Vector | None, DenseFactor]]:
        """Combinations of problems, warm starts and preconditioners, each kind at least once."""
        for index, loss in enumerate(LOSSES):
            problem = Problem(loss, shares_cases=index != 1)
            A, _ = problem.dense
            yield problem, None, unit_factor(len(A))
            yield problem, problem.vector(random_vector(len(A))), self._factor(rough_factor(A))

    def _run(
        self, problem: Problem, x0: Vector | None, factor: DenseFactor, steps: int = LONGEST, tolerance: float = 0.0
    ) -> list[SolverStep]:
        """The steps until the residual is small, a breakdown, the end of the iterates, or a maximum number."""
        return self._steps(problem.system(), x0, self._factor(factor), steps, tolerance)

    def _factor(self, factor: DenseFactor) -> DenseFactor:
        """The preconditioner, or none for a solver that takes none."""
        return factor if getattr(self.solver(), "takes_preconditioner", True) else unit_factor(len(factor.M))

    def _steps(
        self, system: GaussNewtonSystem, x0: Vector | None, factor: DenseFactor, steps: int, tolerance: float = 0.0
    ) -> list[SolverStep]:
        counted, done = Counted(system), ProductsDone(system)
        taken: list[SolverStep] = []
        for state in self._states(counted, x0, factor):
            taken.append(SolverStep(state, flat(state.x), counted.products, done.in_ledger, done.products))
            over = state.k >= steps or len(taken) > steps or not math.isfinite(state.q)  # whatever k says
            if over or state.breakdown is not None or state.relative_residual <= tolerance:
                break
        require(
            bool(taken),
            "a state 0 before the first step",
            "no state at all",
            "state 0 is where the optimiser stands if no step can be taken",
        )
        return taken

    def _states(self, system: Any, x0: Vector | None, factor: DenseFactor) -> Iterator[SolverState]:
        """The solver's states, each one checked."""
        states: Any = self.solver().iterates(system, x0, factor)
        require(
            isinstance(states, Iterable),
            "`iterates` to be a generator: it yields a state per step",
            answer_in_words(states),
            "the optimiser takes states one by one until a rule ends the solve",
        )
        for state in states:
            require_state(state, system.gradient, self._monotone())
            yield state

    def _monotone(self) -> tuple[str, ...]:
        """The declared names; none if the declaration has another type."""
        declared: Any = getattr(self.solver(), "monotone", ())
        return declared if NAMES.holds(declared) else ()

    def _first_states(self, system: Any, x0: Vector | None, factor: DenseFactor, most: int) -> list[SolverState]:
        """The states 0 to `most`, or fewer: an algorithm may end by itself."""
        states: list[SolverState] = []
        for state in self._states(system, x0, factor):
            states.append(state)
            if len(states) > most:
                break
        require(
            bool(states), "a state 0 before the first step", "no state at all", "the optimiser must stand somewhere"
        )
        return states
