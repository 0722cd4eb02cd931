"""Contract of stopping rules: fresh for every solve, reading only declared fields, answering with a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from hfbench.parts.protocols import Rule, Stop
from hfbench.testing.contract import Contract, not_applicable, require
from hfbench.testing.kinds import NAMES, Kind, require_kind

STEPS = 300
KNOWN = ("k", "q", "relative_residual", "backward_error", "products")


class RuleContract(Contract):
    """Contract of a stopping rule (hfbench/parts/protocols.py, `Rule`)."""

    def rule(self) -> Rule:
        rule: Rule = self.built()
        return rule

    def test_begins_a_test(self) -> None:
        """`needs` names the fields that are read, and `begin` returns the test of every state."""
        self._needs()
        self._begun(self.rule())

    def test_says_what_it_reads(self) -> None:
        needs, test = self._needs(), self._begun(self.rule())
        for state in self._solve(rate=0.9):
            try:
                test(state)
            except AttributeError as error:
                require(
                    False,
                    f"nothing read of a state but what `needs` names, {', '.join(needs)}",
                    f"{error.name} was read" if error.obj is state else str(error),
                    "a solver whose states lack it ends the run with an error in the middle of a solve",
                )

    def test_answers_with_a_reason_or_none(self) -> None:
        for rate in (0.5, 0.99):
            test = self._begun(self.rule())
            for state in self._solve(rate):
                answer = test(state)
                require(
                    answer is None or isinstance(answer, Stop),
                    f"a member of hfbench.parts.Stop, or None, at step {state.at}",
                    repr(answer),
                    "the reason is recorded in the trace; True is none",
                )

    def test_begins_anew_for_every_solve(self) -> None:
        rule = self.rule()
        alone = self._answers(rule, 0.9)
        self._answers(rule, 0.5)
        one, other = self._begun(rule), self._begun(rule)
        beside = []
        for state, disturbing in zip(self._solve(0.9), self._solve(0.5), strict=True):
            other(disturbing)
            beside.append(one(state))
        require(
            alone == beside == self._answers(rule, 0.9),
            "the same answers in every solve, whatever others came before or run at the same time",
            "others",
            "a rule that remembers ends a solve for what another one did",
        )

    # ------------------------------------------------------------ helpers

    def _begun(self, rule: Rule) -> Callable[[Any], Stop | None]:
        test = rule.begin()
        kind = Kind("a function of a state", callable)
        require_kind("what `begin` returns", test, kind, "the optimiser asks it after every step of a solve")
        return test

    def _needs(self) -> tuple[str, ...]:
        """The fields of a state that it reads."""
        needs: Any = getattr(self.rule(), "needs", None)
        why = "a solver whose states lack one is refused before the run, not in the middle of it"
        require_kind("`needs: ClassVar[tuple[str, ...]]`", needs, NAMES, why)
        return tuple(needs)

    def _answers(self, rule: Rule, rate: float) -> list[Stop | None]:
        test = self._begun(rule)
        return [test(state) for state in self._solve(rate)]

    def _solve(self, rate: float) -> Iterator[Any]:
        """States of a solve that converges geometrically, with the declared fields only."""
        needs = self._needs()
        foreign = [name for name in needs if name not in KNOWN]
        if foreign:
            not_applicable(f"it reads {', '.join(foreign)}, which only some solver's states have")
        for k in range(STEPS):
            left = rate**k
            values = {
                "k": k,
                "q": left - 1.0,
                "relative_residual": left**0.5,
                "backward_error": 0.1 * left**0.5,
                "products": k + 1.0,
            }
            yield SimpleNamespace(at=k, **{name: values[name] for name in needs})
