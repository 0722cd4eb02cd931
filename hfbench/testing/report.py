"""`hfbench check`: parts against the contracts of their families, with a line per part or per check."""

from __future__ import annotations

import inspect
import textwrap
import time
import traceback
import unittest
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from hfbench import registry
from hfbench.describe import broken
from hfbench.errors import HfbenchError, UnknownPartError
from hfbench.experiment import one_thread
from hfbench.space import did_you_mean
from hfbench.testing import CONTRACTS
from hfbench.testing.contract import Contract, ContractBroken

HELD, BROKEN, SKIPPED = "held", "BROKEN", "skipped"
RAISES = "an exception ends the run that the part is used in"
INDENT, LABEL = 11, 10  # columns before a label, and of it

Part = tuple[str, str]  # family and name


@dataclass(frozen=True)
class Outcome:
    """How one check of one part came out; `said`, by label, what was wrong, or why there was nothing to check."""

    check: str
    result: str
    said: tuple[tuple[str, str], ...] = ()

    @property
    def words(self) -> str:
        return self.check.removeprefix("test_").replace("_", " ")


def check_parts(names: Sequence[str], console: Console, data: str | None = None) -> int:
    """Checks the parts of these names, and prints how it went; 1 if a contract is broken, else 0.

    Without names, those that plugin files or a notebook added, or else all there are. A part that is broken or cannot
    be loaded stops no other. Raises UnknownPartError, before anything is checked, for a name that no part has.
    """
    chosen = _chosen(names)
    own = bool(names or registry.added())
    began = time.monotonic()
    wrong = [f"plugin {Path(file).name}" for file in registry.skipped]  # which the command has told of
    for family, name in chosen:
        outcomes = _told(console, family, name, data, each=own)
        if any(outcome.result == BROKEN for outcome in outcomes):
            wrong.append(f"{family} {name}")
    count = f"{len(chosen)} part{'s' * (len(chosen) != 1)} checked in {time.monotonic() - began:.0f} s"
    verdict = f"broken: {', '.join(wrong)}" if wrong else "all contracts hold"
    console.print(f"\n{count}: {verdict}.")
    return 1 if wrong else 0


def outcomes_of(
    family: str, part: Any, data: str | None = None, checks: Sequence[str] | None = None
) -> Iterator[Outcome]:
    """Runs the family's contract, all of it or some checks, on a part: its registered name, a class or an instance.

    Raises as `registry.get` for a name.
    """
    part = registry.get(family, part) if isinstance(part, str) else part
    checked = {"part": part, "data": data}
    contract: type[Contract] = type(f"{family.capitalize()}Contract", (CONTRACTS[family],), checked)
    for check in contract.checks() if checks is None else checks:
        yield _outcome(contract, check)


# ---------------------------------------------------------------- what is checked


def _chosen(names: Sequence[str]) -> list[Part]:
    everything = [(family, name) for family in registry.FAMILIES for name in registry.names(family)]
    if not names:
        added = [part for part in everything if part in registry.added()]
        return added if added or registry.skipped else everything
    chosen = []
    for wanted in dict.fromkeys(names):
        found = [(family, name) for family, name in everything if name == wanted]
        if not found:
            near = did_you_mean(wanted, [name for _, name in everything])
            why = registry.cure(wanted, near)
            raise UnknownPartError(f"no part {wanted!r}{near}; `hfbench list` lists them all.{why}")
        chosen += found
    return chosen


def _outcome(contract: type[Contract], check: str) -> Outcome:
    try:
        with one_thread(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's about parts are for whoever writes tests of them
            getattr(contract(), check)()
    except unittest.SkipTest as reason:
        return Outcome(check, SKIPPED, (("because", str(reason)),))
    except ContractBroken as error:
        return Outcome(check, BROKEN, error.said)
    except (Exception, SystemExit) as error:
        came = f"{type(error).__name__}: {error} ({_place(error, contract.part)})"
        return Outcome(check, BROKEN, (("expected", "no exception"), ("came", came), ("matters", RAISES)))
    return Outcome(check, HELD)


def _place(error: BaseException, part: Any) -> str:
    """Where an exception arose: in the part's own file if it went through there, else outside of the contract."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == _file(part)]
    foreign = [frame for frame in frames if Path(frame.filename).parent != Path(__file__).parent]
    last = (own or foreign or frames)[-1]
    return f"{last.filename}:{last.lineno}, in {last.name}"


def _file(part: Any) -> str:
    try:
        return inspect.getfile(part if isinstance(part, type) else type(part))
    except (OSError, TypeError):  # classes typed at a prompt have no file
        return ""


# ---------------------------------------------------------------- what is printed


def _told(console: Console, family: str, name: str, data: str | None, each: bool) -> list[Outcome]:
    """Checks one part and prints its line, or one for `each` check, with all there is to say of broken ones."""
    title = f"{family} {name}"
    began = time.monotonic()
    outcomes: list[Outcome] = []
    if each:
        console.print(f"{title} ({_origin(family, name)})", soft_wrap=True)
    try:
        with _busy(console, title):
            for outcome in outcomes_of(family, name, data):
                outcomes.append(outcome)
                if each:
                    _print_check(console, outcome)
    except HfbenchError as error:
        outcomes.append(Outcome("can_be_loaded", BROKEN, (("because", broken(error)),)))
        if each:
            _print_check(console, outcomes[-1])
    if not each:
        console.print(_line(title, outcomes, time.monotonic() - began))
        for outcome in outcomes:
            if outcome.result == BROKEN:
                _print_check(console, outcome)
    return outcomes


def _busy(console: Console, title: str) -> AbstractContextManager[Any]:
    """A line that moves while a part is checked, on a terminal alone."""
    return console.status(f"checking {title}") if console.is_terminal else nullcontext()


def _line(title: str, outcomes: Sequence[Outcome], seconds: float) -> str:
    """`solver lsmr                 14 held, 1 skipped   0.8 s`"""
    counts = {result: sum(one.result == result for one in outcomes) for result in (HELD, BROKEN, SKIPPED)}
    said = ", ".join(f"{count} {result}" for result, count in counts.items() if count)
    return f"{title:<34}{said:<34}{seconds:5.1f} s"


def _print_check(console: Console, outcome: Outcome) -> None:
    """Its line, and below it, each text under its label, what there is to say."""
    console.print(f"  {outcome.result:<8} {outcome.words}", soft_wrap=True)
    for label, text in outcome.said:
        width = console.width - INDENT - LABEL
        lines = [part for line in text.splitlines() for part in textwrap.wrap(line, width, replace_whitespace=False)]
        for place, line in enumerate(lines):
            console.print(f"{'':{INDENT}}{label if place == 0 else '':{LABEL}}{line}", soft_wrap=True)


def _origin(family: str, name: str) -> str:
    try:
        return registry.origin(family, name)
    except HfbenchError:
        return "of several owners"
