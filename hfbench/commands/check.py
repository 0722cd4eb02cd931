"""`hfbench check`: parts against the contracts of their families, with a line per part or per check."""

from __future__ import annotations

import inspect
import textwrap
import time
import traceback
import unittest
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.text import Text

from hfbench.commands.show import broken
from hfbench.errors import ConfigError, HfbenchError, UnknownPartError
from hfbench.messages import did_you_mean, quoted
from hfbench.parts import plugin_errors, registry
from hfbench.parts.hyperparameters import build_part, hyperparameters
from hfbench.runs.attempt import single_threaded
from hfbench.testing import CONTRACTS
from hfbench.testing.contract import Contract, ContractBroken
from hfbench.testing.limit import TimeUp, ended_after

HELD, BROKEN, SKIPPED, NOT_RUN = "held", "BROKEN", "skipped", "not run"
NO_EXCEPTION = "no exception"
RAISES = "an exception ends the run that the part is used in"
ENDLESS = "a run with such a part never ends"
CHECKING = (Path(__file__).parent, Path(inspect.getfile(Contract)).parent)  # folders of the code that checks
INDENT, LABEL = 11, 10  # columns before a label, and of it

Part = tuple[str, str]  # family and name


@dataclass(frozen=True)
class Outcome:
    """Outcome of one check of one part. `said` gives, by label, the fault found, or why there was nothing to check."""

    check: str
    result: str
    said: tuple[tuple[str, str], ...] = ()

    @property
    def words(self) -> str:
        return _words(self.check)

    @property
    def of_wrong_kind(self) -> bool:
        """For a first check: True if it found the wrong kind or ran out of time, rather than ending in an exception."""
        return self.result == BROKEN and ("expected", NO_EXCEPTION) not in self.said


def check_parts(names: Sequence[str], console: Console, data: str | None = None, limit: float | None = None) -> int:
    """Checks the parts of these names and prints the outcomes. Returns 1 if a contract is broken, else 0.

    Without names, it checks the parts that plugin files or a notebook added, or all parts if there are none. A part
    that is broken or cannot be loaded does not stop the others. A check that takes more than `limit` seconds (by
    default the contract's `seconds`) counts as broken. Raises UnknownPartError, before anything is checked, for an
    unknown name. If a plugin file was skipped, an unknown name may be a part of that file: it is reported and counts
    as broken.
    """
    try:
        chosen = _chosen(names)
    except UnknownPartError as error:
        if not registry.skipped:
            raise
        chosen = []
        console.print(str(error), soft_wrap=True)
    own = bool(names or registry.added())
    began = time.monotonic()
    wrong = [f"plugin {Path(file).name}" for file in registry.skipped]  # which the command has told of
    for family, name in chosen:
        outcomes = _told(console, family, name, each=own, data=data, limit=limit)
        if any(outcome.result == BROKEN for outcome in outcomes):
            wrong.append(f"{family} {name}")
    count = f"{len(chosen)} part{'s' * (len(chosen) != 1)} checked in {time.monotonic() - began:.0f} s"
    verdict = f"broken: {', '.join(wrong)}" if wrong else "all contracts hold"
    console.print(f"\n{count}: {verdict}.")
    return 1 if wrong else 0


def outcomes_of(
    family: str,
    part: Any,
    data: str | None = None,
    checks: Sequence[str] | None = None,
    limit: float | None = None,
    before: Callable[[str], object] | None = None,
) -> Iterator[Outcome]:
    """Runs the family's contract, all of it or some checks, on a part: its registered name, a class or an instance.

    If an answer is not of the kind that the contract's first check requires, or does not come in time, the other
    checks are not run, because they would fail for the same reason. `before` is called with the name of each check
    that is about to run. Raises as `registry.get` for a name, and ConfigError for a class that needs settings.
    """
    part = registry.get(family, part) if isinstance(part, str) else part
    if isinstance(part, type) and is_dataclass(part):
        part = _with_settings(family, part)
    checked = {"part": part, "data": data}
    contract: type[Contract] = type(f"{family.capitalize()}Contract", (CONTRACTS[family],), checked)
    wanted = contract.checks() if checks is None else checks
    for index, check in enumerate(wanted, start=1):
        if before is not None:
            before(check)
        yield (outcome := _outcome(contract, check, contract.seconds if limit is None else limit))
        if check == contract.checks()[0] and outcome.of_wrong_kind and index < len(wanted):
            yield Outcome(f"the other {len(wanted) - index} checks, until this one holds", NOT_RUN)
            return


# ---------------------------------------------------------------- what is checked


def _with_settings(family: str, part: type) -> Any:
    """The class, or one made with its `example` settings. Raises ConfigError if it has none and lacks defaults."""
    if isinstance(example := getattr(part, "example", None), Mapping):
        return build_part(part, example, f"{family} {part.__name__}: example")
    lacking = [declared.name for declared in hyperparameters(part) if declared.required]
    if lacking:
        raise ConfigError(
            f"{family} {part.__name__}: a contract checks a part with its defaults, but {', '.join(lacking)} has none. "
            "Give the class settings to be checked with, example: ClassVar = {…}, or check one by pytest: "
            f"class TestIt(hfbench.testing.{family.capitalize()}Contract): part = {part.__name__}(…)."
        )
    return part


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
            raise UnknownPartError(f"no part {quoted(wanted)}{near}; `hfbench list` lists them all.{why}")
        chosen += found
    return chosen


def _outcome(contract: type[Contract], check: str, limit: float) -> Outcome:
    try:
        with ended_after(limit), single_threaded(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's about parts are for whoever writes tests of them
            getattr(contract(), check)()
    except unittest.SkipTest as reason:
        return Outcome(check, SKIPPED, (("because", str(reason)),))
    except ContractBroken as error:
        return Outcome(check, BROKEN, error.said)
    except TimeUp as error:
        expected = f"an end within {limit:g} s (--limit gives it longer)"
        came = f"none: it was at work in {_place(error, contract.part)}"
        return Outcome(check, BROKEN, (("expected", expected), ("came", came), ("matters", ENDLESS)))
    except (Exception, SystemExit) as error:
        came = f"{type(error).__name__}: {error} ({_place(error, contract.part)})"
        return Outcome(check, BROKEN, (("expected", NO_EXCEPTION), ("came", came), ("matters", RAISES)))
    return Outcome(check, HELD)


def _place(error: BaseException, part: Any) -> str:
    """Place of an exception: in the part's own file if its traceback passes there, else outside of the contract."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == _file(part)]
    outside = [frame for frame in frames if Path(frame.filename).parent not in CHECKING]
    last = (own or outside or frames)[-1]
    return f"{plugin_errors.plain_path(last.filename)}:{last.lineno}, in {last.name}"


def _file(part: Any) -> str:
    try:
        return inspect.getfile(part if isinstance(part, type) else type(part))
    except (OSError, TypeError):  # classes typed at a prompt have no file
        return ""


# ---------------------------------------------------------------- what is printed


def _told(console: Console, family: str, name: str, each: bool, **options: Any) -> list[Outcome]:
    """Checks one part and prints its line, or a line for `each` check, with details of the broken ones."""
    title = f"{family} {name}"
    began = time.monotonic()
    outcomes: list[Outcome] = []
    if each:
        console.print(f"{title} ({_origin(family, name)})", soft_wrap=True)
    try:
        with _busy(console, title) as at_work:
            for outcome in outcomes_of(family, name, **options, before=at_work):
                outcomes.append(outcome)
                if each:
                    _print_check(console, outcomes)
    except HfbenchError as error:
        outcomes.append(Outcome("can_be_loaded", BROKEN, (("because", broken(error)),)))
        if each:
            _print_check(console, outcomes)
    if not each:
        console.print(_line(title, outcomes, time.monotonic() - began))
        for index, outcome in enumerate(outcomes, start=1):
            if outcome.result in (BROKEN, NOT_RUN):
                _print_check(console, outcomes[:index])
    return outcomes


@contextmanager
def _busy(console: Console, title: str) -> Iterator[Callable[[str], object] | None]:
    """Progress line with the name of the running check, on a terminal only."""
    if not console.is_terminal:
        yield None
        return
    with console.status(Text(f"checking {title}")) as line:
        yield lambda check: line.update(Text(f"checking {title}: {_words(check)}"))


def _line(title: str, outcomes: Sequence[Outcome], seconds: float) -> str:
    """`solver lsmr                 14 held, 1 skipped   0.8 s`"""
    counts = {result: sum(outcome.result == result for outcome in outcomes) for result in (HELD, BROKEN, SKIPPED)}
    said = ", ".join(f"{count} {result}" for result, count in counts.items() if count)
    return f"{title:<34}{said:<34}{seconds:5.1f} s"


def _print_check(console: Console, outcomes: Sequence[Outcome]) -> None:
    """Prints the line of the last outcome and, below it, its details by label, unless they were printed before."""
    *earlier, outcome = outcomes
    again = outcome.result == BROKEN and any(outcome.said == before.said for before in earlier)
    console.print(f"  {outcome.result:<8} {outcome.words}{': the same' * again}", soft_wrap=True)
    if again:
        return
    for label, text in outcome.said:
        width = console.width - INDENT - LABEL
        lines = [part for line in text.splitlines() for part in textwrap.wrap(line, width, replace_whitespace=False)]
        for index, line in enumerate(lines):
            console.print(f"{'':{INDENT}}{label if index == 0 else '':{LABEL}}{line}", soft_wrap=True)


def _words(check: str) -> str:
    return check.removeprefix("test_").replace("_", " ")


def _origin(family: str, name: str) -> str:
    try:
        return registry.origin(family, name)
    except HfbenchError:
        return "of several owners"
