"""One solver on one frozen system: every iterate judged, and the iteration at which each stopping rule stops.

Tracked quantities come from the solver's recurrences, in its precision. Exact quantities are computed in float64 from
the same iterate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from hfbench.errors import ConfigError
from hfbench.inner_solve.solve import solve
from hfbench.inner_solve.system import FORMS
from hfbench.linalg.precision import PRECISIONS
from hfbench.linalg.vector import Vector
from hfbench.messages import did_you_mean, quoted
from hfbench.parts import registry
from hfbench.parts.protocols import SolverState, Stop
from hfbench.probe.frozen_system import FrozenSystem, OpenedSystem
from hfbench.probe.judge import Judge
from hfbench.probe.orthogonality import Basis, WatchedFactor
from hfbench.probe.part_errors import parts_named
from hfbench.runs.attempt import single_threaded

Row = dict[str, Any]
STARTS = ("warm", "zero", "previous")
EVERY = 10  # iterates up to this one are all judged, then each a sixth beyond the one before
GROWTH = 1.17
RULES = ("relative-progress", "residual", "backward-error")  # at their defaults; the others stop where they are told


@dataclass(frozen=True)
class Arm:
    """Combination that solves the system: solver, preconditioner and so on, as names or tables of a study file."""

    solver: str
    preconditioner: str
    products: str = "parameters"
    right_hand_side: str = "auto"
    start: str = "warm"

    @property
    def name(self) -> str:
        """Solver and preconditioner, and the settings that differ from the defaults."""
        usual = Arm(self.solver, self.preconditioner)
        more = [
            getattr(self, name)
            for name in ("products", "right_hand_side")
            if getattr(self, name) != getattr(usual, name)
        ]
        return " ".join([self.solver, self.preconditioner, *more, *([f"from {self.start}"] * (self.start != "warm"))])


@dataclass
class Solve:
    """Result of an arm on a system."""

    system: str
    moment: str  # the run and its iteration, whatever lambda is
    damping: float
    arm: Arm
    rows: list[Row] = field(default_factory=list)  # a row for each judged iterate
    stops: dict[str, int] = field(default_factory=dict)  # rule -> the iteration at which it says stop
    end: str = ""

    def row_at(self, k: int) -> Row | None:
        return next((row for row in self.rows if row["k"] == k), None)

    def stopped(self, rule: str) -> Row:
        """The iterate at which the rule stops, or the last one if it never does."""
        found = self.row_at(self.stops[rule]) if rule in self.stops else None
        return found or self.rows[-1]


def solve_and_judge(frozen: FrozenSystem, judge: Judge, arm: Arm, most: int, data: str | None = None) -> Solve:
    """The arm's iterates up to `most`, beyond every rule. Raises ConfigError if a part does not take the system."""
    opened = frozen.open(
        data,
        solver=_table("solver", arm.solver, frozen),
        preconditioner=_table("preconditioner", arm.preconditioner, frozen),
        products=arm.products,
        right_hand_side=arm.right_hand_side,
        rules=(),
    )
    made = Solve(frozen.name, frozen.moment, frozen.damping, arm)
    with parts_named(opened.spec.used()):
        with single_threaded():  # as in the run
            posed, warm = opened.system_at()
        factor = WatchedFactor(posed.preconditioner)
        look = _Look(made, judge, factor, most)
        solution = solve(opened.optimizer.solver, posed.system, _start(opened, arm, warm), factor, [], [look], most)
        look.last(solution.last)
    made.end = solution.stop.name.lower()
    return made


def _start(opened: OpenedSystem, arm: Arm, warm: Vector | None) -> Vector | None:
    if arm.start != "previous":
        return warm if arm.start == "warm" else None
    if opened.previous_step is None:
        raise ConfigError("--start previous: there was no step before the first system of a run; take warm or zero.")
    return opened.previous_step


def judged_iterations(most: int) -> list[int]:
    """The iterations up to `most` that are judged in every solve."""
    found = [0]
    while found[-1] < most:
        k = found[-1]
        found.append(k + 1 if k < EVERY else math.ceil(k * GROWTH))
    return [k for k in found if k <= most]


class _Look:
    """A recorder: applies the rules to every state, and the judge to some."""

    def __init__(self, made: Solve, judge: Judge, factor: WatchedFactor, most: int) -> None:
        self.made, self.judge, self.factor = made, judge, factor
        self.basis, self.worst, self.judged = Basis(), 0.0, set(judged_iterations(most))
        self.tests: dict[str, Callable[[Any], Stop | None]] | None = None

    def __call__(self, state: SolverState) -> None:
        if self.tests is None:
            self.tests = _tests(state)
        loss = self.basis.loss(self.factor)
        self.worst = max(self.worst, loss or 0.0)
        fired = [name for name, test in self.tests.items() if name not in self.made.stops and test(state) is not None]
        self.made.stops |= dict.fromkeys(fired, state.k)
        if fired or state.k in self.judged:
            self._judge(state)

    def last(self, state: SolverState) -> None:
        if self.made.row_at(state.k) is None:
            self._judge(state)

    def _judge(self, state: SolverState) -> None:
        with self.factor.unwatched():
            found = self.judge.look(state.x, self.factor)
        tracked = {"k": state.k, "products": state.products, "q": state.q, "tracked_residual": state.relative_residual}
        self.made.rows.append({**tracked, **found, "orthogonality": self.worst})


def _tests(state: SolverState) -> dict[str, Callable[[Any], Stop | None]]:
    """The tests of all rules whose `needs` the solver's states have."""
    rules = {name: registry.build("rule", name) for name in RULES}
    return {name: rule.begin() for name, rule in rules.items() if all(hasattr(state, need) for need in rule.needs)}


def _table(family: str, name: str, frozen: FrozenSystem) -> dict[str, Any]:
    """The run's settings if the run used this part, else the defaults."""
    own = frozen.run["method"][family]
    return dict(own) if own["use"] == name else {"use": name}


def arms_of(
    solvers: Sequence[str],
    preconditioners: Sequence[str],
    products: Sequence[str],
    right_hand_sides: Sequence[str],
    starts: Sequence[str],
) -> list[Arm]:
    """Every combination. Raises ConfigError, with the known names, for an unknown one."""
    for family, names in (("solver", solvers), ("preconditioner", preconditioners)):
        for name in names:
            registry.build(family, name, f"--{family}s")
    for option, known, given in (
        ("--precision", PRECISIONS, products),
        ("--rhs", FORMS, right_hand_sides),
        ("--start", STARTS, starts),
    ):
        for name in given:
            if name not in known:
                near = did_you_mean(name, known)
                raise ConfigError(f"{option}: must be among {', '.join(known)}, but got {quoted(name)}{near}.")
    combined = product(preconditioners, products, right_hand_sides, starts, solvers)
    return [Arm(solver, *rest) for *rest, solver in combined]
