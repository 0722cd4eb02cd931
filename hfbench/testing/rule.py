"""Contract of stopping rules: fresh for every solve, reading only declared fields, answering with a reason."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError
from typing import Any

import torch

from hfbench.linalg.vector import Vector
from hfbench.parts.protocols import Rule, Stop
from hfbench.testing.contract import Contract, global_random_state_kept, not_applicable, require
from hfbench.testing.kinds import NAMES, Kind, require_kind

STEPS = 300
KNOWN = ("k", "x", "q", "relative_residual", "backward_error", "products", "breakdown")


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
                failed = ""
            except AttributeError as error:
                failed = str(error)
            require(
                not (failed or state.missed),
                f"nothing read of a state but what `needs` names, {', '.join(needs)}",
                f"{' and '.join(state.missed)} was read" if state.missed else failed,
                "a solver is refused for what its states lack of `needs`; what is not named is missed without a word",
            )

    def test_answers_with_a_reason_or_none(self) -> None:
        for rate in (0.5, 0.99):
            test = self._begun(self.rule())
            for index, state in enumerate(self._solve(rate)):
                answer = test(state)
                require(
                    answer is None or isinstance(answer, Stop),
                    f"a member of hfbench.parts.Stop, or None, at step {index}",
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

    def test_leaves_states_alone(self) -> None:
        test = self._begun(self.rule())
        for state in self._solve(rate=0.9):
            before = state.values()
            try:
                test(state)
                failed = ""
            except FrozenInstanceError as error:
                failed = f": {error}"
            changed = [name for name, value in state.values().items() if not _same(value, before[name])]
            require(
                not (changed or failed),
                "a state as it was",
                f"{' and '.join(changed) or 'an attempt to write'}{' changed' * bool(changed)}{failed}",
                "the other rules, backtracking and the trace read the same state",
            )

    def test_draws_no_random_numbers(self) -> None:
        with global_random_state_kept("a solve that is repeated must end where it did", "no random numbers"):
            self._answers(self.rule(), 0.9)

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
            values: dict[str, Any] = {
                "k": k,
                "q": left - 1.0,
                "relative_residual": left**0.5,
                "backward_error": 0.1 * left**0.5,
                "products": k + 1.0,
                "x": Vector((torch.full((3, 2), 1.0 - left), torch.full((3,), left - 1.0))),
                "breakdown": None,
            }
            yield DeclaredState({name: values[name] for name in needs})


class DeclaredState:
    """A state with the declared entries, frozen as those of solvers are; `missed` are others that were asked for."""

    def __init__(self, entries: dict[str, Any]) -> None:
        object.__setattr__(self, "missed", [])
        self.__dict__.update(entries)

    def values(self) -> dict[str, Any]:
        """Copies of its entries."""
        return copy.deepcopy({name: value for name, value in vars(self).items() if name != "missed"})

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            self.missed.append(name)
        raise AttributeError(f"a state has no {name} here, which `needs` does not name", name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")


def _same(a: Any, b: Any) -> bool:
    return all(map(torch.equal, a, b)) if isinstance(a, Vector) else bool(a == b)
