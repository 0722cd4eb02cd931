"""Loop over an inner solver's iterates: applies the rules, calls the recorders, stops at non-finite states."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args, get_type_hints

from hfbench.errors import ConfigError
from hfbench.linalg.vector import Vector
from hfbench.parts.protocols import BuiltPreconditioner, InnerSolver, Preconditioner, Rule, SolverState, Stop, System


@dataclass(frozen=True)
class Solution:
    """The last state of a solve, and the reason for its end."""

    last: SolverState
    stop: Stop


def solve(
    solver: InnerSolver,
    system: System,
    x0: Vector | None,
    preconditioner: BuiltPreconditioner,
    rules: Sequence[Rule],
    recorders: Sequence[Callable[[SolverState], None]] = (),
    max_iterations: int = 250,
) -> Solution:
    """Runs the iterates until a rule stops them, the maximum is reached, or they end by themselves.

    Recorders see every finite state. A state that is not finite ends the solve (NONFINITE) at the state before it, or
    at state 0 if it is the first. Raises ConfigError if a rule needs entries that the solver's states do not have.
    """
    tests = [rule.begin() for rule in rules]
    last: SolverState | None = None
    states = solver.iterates(system, x0, preconditioner)
    del x0  # the solver's to keep, if it needs it
    for k, state in enumerate(states):  # whatever the states say of themselves
        if last is None:
            _check_needs(rules, partial(hasattr, state), type(solver).__name__)
        if not math.isfinite(state.q):
            return Solution(last or state, Stop.NONFINITE)
        last = state
        for record in recorders:
            record(state)
        if state.breakdown is not None:
            return Solution(state, Stop.BREAKDOWN)
        reasons = [stop for test in tests if (stop := test(state)) is not None]
        if reasons:
            return Solution(state, reasons[0])
        if k >= max_iterations:
            return Solution(state, Stop.MAX_ITERATIONS)
    if last is None:
        raise ConfigError(f"the iterates of {type(solver).__name__} must begin with a state 0, but there were none.")
    return Solution(last, Stop.SOLVED)


def check_rules(rules: Iterable[Rule], solver: InnerSolver) -> None:
    """Raises ConfigError for a rule that reads entries the solver's states are declared not to have.

    The return annotation of `iterates` shows this before any solve; otherwise the first state does (`solve`).
    """
    kind = _declared_state(solver)
    if kind is not None:
        known = {*dir(kind), *(name for base in kind.__mro__ for name in inspect.get_annotations(base))}
        _check_needs(rules, known.__contains__, type(solver).__name__)


def check_preconditioner(solver: InnerSolver, preconditioner: Preconditioner) -> None:
    """Raises ConfigError for a non-trivial preconditioner with a solver that takes none."""
    if getattr(solver, "takes_preconditioner", True) or getattr(preconditioner, "trivial", False):
        return
    raise ConfigError(
        f"solver {type(solver).__name__} takes no preconditioner, but got {type(preconditioner).__name__}: "
        "use identity, or another solver."
    )


def _declared_state(solver: InnerSolver) -> type | None:
    """The class of states in the annotation of `iterates`; None for Any, a protocol, or no usable annotation."""
    try:
        yielded = get_args(get_type_hints(type(solver).iterates).get("return"))
    except (NameError, TypeError, AttributeError):  # names imported for type checkers alone
        return None
    kind = yielded[0] if yielded else None
    return kind if isinstance(kind, type) and kind is not Any and not getattr(kind, "_is_protocol", False) else None


def _check_needs(rules: Iterable[Rule], has: Callable[[str], bool], solver: str) -> None:
    for rule in rules:
        missing = [name for name in rule.needs if not has(name)]
        if missing:
            raise ConfigError(
                f"rule {type(rule).__name__} reads {', '.join(missing)}, which the states of {solver} do not have; "
                "use another rule with this solver, or a solver that reports it."
            )
