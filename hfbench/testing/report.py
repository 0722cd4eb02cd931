"""`hfbench check`: parts against the contracts of their families, with a line per part or per check."""

from __future__ import annotations

import time
import traceback
import unittest
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding

from hfbench import registry
from hfbench.describe import broken
from hfbench.errors import HfbenchError, UnknownPartError
from hfbench.experiment import one_thread
from hfbench.space import did_you_mean
from hfbench.testing import CONTRACTS
from hfbench.testing.contract import Contract, ContractBroken

HELD, BROKEN, SKIPPED = "held", "BROKEN", "skipped"


@dataclass(frozen=True)
class Outcome:
    """How one check of one part came out; `said` is what was wrong, or why there was nothing to check."""

    check: str
    result: str
    said: str = ""

    @property
    def words(self) -> str:
        return self.check.removeprefix("test_").replace("_", " ")


def check_parts(names: Sequence[str], console: Console, data: str | None = None) -> int:
    """Checks the parts of these names, all if none is given, and prints how it went; 1 if a contract is broken, else 0.

    A broken part stops no other. Raises UnknownPartError, before anything is checked, for a name that no part has.
    """
    chosen = _chosen(names)
    broken_parts, began = [], time.monotonic()
    for family, name in chosen:
        outcomes = _told(console, family, name, data, each=bool(names))
        if any(outcome.result == BROKEN for outcome in outcomes):
            broken_parts.append(f"{family} {name}")
    count = f"{len(chosen)} part{'s' * (len(chosen) != 1)} checked in {time.monotonic() - began:.0f} s"
    verdict = f"broken: {', '.join(broken_parts)}" if broken_parts else "all contracts hold"
    console.print(f"\n{count}: {verdict}.")
    return 1 if broken_parts else 0


def outcomes_of(family: str, name: str, data: str | None = None) -> Iterator[Outcome]:
    """Runs the family's contract on a registered part, check by check. Raises as `registry.get`."""
    contract = contract_for(family, registry.get(family, name), data)
    for check in contract.checks():
        yield _outcome(contract, check)


def contract_for(family: str, part: Any, data: str | None = None) -> type[Contract]:
    """The family's contract for a part, a class or an instance."""
    return type(f"{family.capitalize()}Contract", (CONTRACTS[family],), {"part": part, "data": data})


# ---------------------------------------------------------------- what is checked


def _chosen(names: Sequence[str]) -> list[tuple[str, str]]:
    everything = [(family, name) for family in registry.FAMILIES for name in registry.names(family)]
    if not names:
        return everything
    chosen = []
    for wanted in dict.fromkeys(names):
        found = [(family, name) for family, name in everything if name == wanted]
        if not found:
            known = [name for _, name in everything]
            raise UnknownPartError(f"no part {wanted!r}{did_you_mean(wanted, known)}; `hfbench list` lists them all.")
        chosen += found
    return chosen


def _outcome(contract: type[Contract], check: str) -> Outcome:
    try:
        with one_thread(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's about parts are for whoever writes tests of them
            getattr(contract(), check)()
    except unittest.SkipTest as reason:
        return Outcome(check, SKIPPED, str(reason))
    except ContractBroken as error:
        return Outcome(check, BROKEN, str(error))
    except Exception as error:
        return Outcome(check, BROKEN, _raised(error))
    return Outcome(check, HELD)


def _raised(error: Exception) -> str:
    """An exception of the part in the words of a contract, with where it arose outside of the contract."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).parent != Path(__file__).parent]
    last = (own or frames)[-1]
    place = f"{last.filename}:{last.lineno}, in {last.name}"
    return f"expected: no exception\ncame:     {type(error).__name__}: {error}\nat:       {place}"


# ---------------------------------------------------------------- what is printed


def _told(console: Console, family: str, name: str, data: str | None, each: bool) -> list[Outcome]:
    """Checks one part and prints its line, or one for `each` check, with all there is to say of broken ones."""
    title = f"{family} {name}"
    began = time.monotonic()
    outcomes: list[Outcome] = []
    if each:
        console.print(f"{title} ({_origin(family, name)})", soft_wrap=True)
    try:
        for outcome in outcomes_of(family, name, data):
            outcomes.append(outcome)
            if each:
                _print_check(console, outcome)
    except HfbenchError as error:
        outcomes.append(Outcome("can be loaded", BROKEN, broken(error)))
        if each:
            _print_check(console, outcomes[-1])
    if not each:
        console.print(_line(title, outcomes, time.monotonic() - began))
        for outcome in outcomes:
            if outcome.result == BROKEN:
                _print_check(console, outcome)
    return outcomes


def _line(title: str, outcomes: Sequence[Outcome], seconds: float) -> str:
    """`solver lsmr                 14 held, 1 skipped   0.8 s`"""
    counts = {result: sum(one.result == result for one in outcomes) for result in (HELD, BROKEN, SKIPPED)}
    said = ", ".join(f"{count} {result}" for result, count in counts.items() if count)
    return f"{title:<34}{said:<34}{seconds:5.1f} s"


def _print_check(console: Console, outcome: Outcome) -> None:
    said = f" ({outcome.said})" if outcome.result == SKIPPED else ""
    console.print(Padding(f"{outcome.result:<8} {outcome.words}{said}", (0, 0, 0, 2)))
    if outcome.result == BROKEN:
        console.print(Padding(outcome.said, (0, 0, 0, 11)))


def _origin(family: str, name: str) -> str:
    try:
        return registry.origin(family, name)
    except HfbenchError:
        return "of several owners"
