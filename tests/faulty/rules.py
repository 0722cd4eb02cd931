"""Stopping rules with one mistake each that a person could make, and the check of the contract that must tell.

`caught_by` names the check, `says` what its message must speak of.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from hfbench.parts.protocols import Stop


class HonestPatience:
    """Stops when q has not fallen by a thousandth for five steps."""

    needs = ("q",)

    def begin(self) -> Callable[[Any], Stop | None]:
        best, waited = float("inf"), 0

        def test(state: Any) -> Stop | None:
            nonlocal best, waited
            waited = 0 if state.q < best - 1e-3 * abs(state.q) else waited + 1
            best = min(best, state.q)
            return Stop.RELATIVE_PROGRESS if waited >= 5 else None

        return test


class HonestOfOneSolver:
    """Reads what only one solver's states have, so that there are none to try it on."""

    needs = ("largest_eigenvalue",)

    def begin(self) -> Callable[[Any], Stop | None]:
        return lambda state: Stop.RESIDUAL if state.largest_eigenvalue > 1e6 else None


class IsTheTest:
    """Is asked by itself, and begins nothing."""

    caught_by, says = "test_begins_a_test", "what `begin` returns to be a function of a state but None"
    needs = ("q",)

    def begin(self) -> Callable[[Any], Stop | None]: ...


class SaysNoNeeds:
    """Does not say what it reads."""

    caught_by, says = "test_begins_a_test", "`needs: ClassVar"
    needs = None

    def begin(self) -> Callable[[Any], Stop | None]:
        return lambda state: None


class ReadsUndeclared:
    """Declares q and reads the residual too."""

    caught_by, says = "test_says_what_it_reads", "relative_residual was read"
    needs = ("q",)

    def begin(self) -> Callable[[Any], Stop | None]:
        return lambda state: Stop.RESIDUAL if state.q < 0 and state.relative_residual < 0.1 else None


class ReadsIfThere:
    """Declares q, and reads the residual where it is there."""

    caught_by, says = "test_says_what_it_reads", "relative_residual was read"
    needs = ("q",)

    def begin(self) -> Callable[[Any], Stop | None]:
        return lambda state: Stop.RESIDUAL if getattr(state, "relative_residual", 1.0) < 0.1 else None


class WritesIntoTheState:
    """Keeps what it computed where it read it."""

    caught_by, says = "test_leaves_states_alone", "cannot assign to field 'q'"
    needs = ("q",)

    def begin(self) -> Callable[[Any], Stop | None]:
        def test(state: Any) -> Stop | None:
            state.q = abs(state.q)
            return None

        return test


class NormalisesTheIterate:
    """Looks at the direction of x, and makes it of length one."""

    caught_by, says = "test_leaves_states_alone", "x changed"
    needs = ("x",)

    def begin(self) -> Callable[[Any], Stop | None]:
        def test(state: Any) -> Stop | None:
            state.x.mul_(1 / (state.x.norm() or 1.0))
            return None

        return test


class LooksNowAndThen:
    """Looks at one state in ten, by chance."""

    caught_by, says = "test_draws_no_random_numbers", "Python's global generator"
    needs = ("relative_residual",)

    def begin(self) -> Callable[[Any], Stop | None]:
        return lambda state: Stop.RESIDUAL if random.random() < 0.1 and state.relative_residual < 0.1 else None


class SaysTrue:
    """Answers like a condition."""

    caught_by, says = "test_answers_with_a_reason_or_none", "False"
    needs = ("relative_residual",)

    def begin(self) -> Callable[[Any], Any]:
        return lambda state: state.relative_residual < 0.1


class SaysTheMessage:
    """Answers with the reason's text."""

    caught_by, says = "test_answers_with_a_reason_or_none", "relative residual is below"
    needs = ("relative_residual",)

    def begin(self) -> Callable[[Any], Any]:
        return lambda state: Stop.RESIDUAL.value if state.relative_residual < 0.1 else None


class Remembers(HonestPatience):
    """Keeps its list of q in the rule, which lives as long as the run."""

    caught_by, says = "test_begins_anew_for_every_solve", "the same answers in every solve"

    def __init__(self) -> None:
        self.qs: list[float] = []

    def begin(self) -> Callable[[Any], Stop | None]:
        def test(state: Any) -> Stop | None:
            self.qs.append(state.q)
            return Stop.RELATIVE_PROGRESS if len(self.qs) > 50 else None

        return test


class BeginsOnce(HonestPatience):
    """Gives out one test again and again."""

    caught_by, says = "test_begins_anew_for_every_solve", "the same answers in every solve"

    def __init__(self) -> None:
        self.test = super().begin()

    def begin(self) -> Callable[[Any], Stop | None]:
        return self.test
