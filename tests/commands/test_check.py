"""`hfbench check`: what is checked, what is said of it, and the status."""

from __future__ import annotations

import io
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.plugin_files import fresh

from hfbench import registry
from hfbench.cli import main
from hfbench.commands.check import check_parts, outcomes_of
from hfbench.testing import CONTRACTS, SolverContract

PLUGIN = '''
from faulty import rules
from hfbench import registry
from hfbench.parts.hyperparameters import part


@part
class Patience(rules.HonestPatience):
    """As it should be."""


@part
class SaysTrue(rules.SaysTrue):
    """As it should not be."""


registry.add("rule", "patience", Patience)
registry.add("rule", "says-true", SaysTrue)
'''

PART = """
from hfbench.parts.hyperparameters import part
from hfbench.parts.protocols import Stop


@part
class Never:
    '''Goes on.'''

    needs = ()

    def begin(self):
        return lambda state: None


@part
class Fails:
    '''Divides by zero.'''

    needs = ()

    def begin(self):
        return lambda state: 1 / 0
"""

Check = Callable[..., tuple[int, str, str]]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Check]:
    """Runs `hfbench check` in this process, 80 columns wide: (status, stdout, stderr); however long it took, 0 s."""
    monkeypatch.setenv("COLUMNS", "80")
    fresh()

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["hfbench", "check", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main.main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err or "acme" in out + err
        return caught.value.code or 0, re.sub(r"checked in \d+ s:", "checked in 0 s:", out), err

    yield call
    fresh()


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    file = tmp_path / "acme_plugin.py"
    file.write_text(PLUGIN)
    return file


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all parts, those that are checked in no time."""
    of_all = registry.names
    monkeypatch.setattr(registry, "names", lambda family: of_all(family) if family == "rule" else [])


def test_one_part_is_told_of_check_by_check(check: Check) -> None:
    status, out, err = check("residual")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        f"rule residual ({registry.origin('rule', 'residual')})",
        "  held     begins a test",
        "  held     says what it reads",
        "  held     answers with a reason or none",
        "  held     begins anew for every solve",
        "  held     leaves states alone",
        "  held     draws no random numbers",
        "",
        "1 part checked in 0 s: all contracts hold.",
    ]


def test_every_shipped_part_can_be_checked() -> None:
    """Also one that must be given settings: a fresh installation holds its contracts."""
    for family in registry.FAMILIES:
        for name in registry.names(family):
            if registry.is_shipped(family, name):
                first = CONTRACTS[family].checks()[0]
                (outcome,) = outcomes_of(family, name, checks=[first])
                assert outcome.result in ("held", "skipped"), (family, name, outcome)


def test_several_parts_in_the_order_given_and_once(check: Check) -> None:
    status, out, _ = check("residual", "fixed-work", "residual")
    assert status == 0
    assert [line for line in out.splitlines() if line.startswith("rule ")] == [
        f"rule {name} ({registry.origin('rule', name)})" for name in ("residual", "fixed-work")
    ]
    assert "2 parts checked" in out


@pytest.mark.usefixtures("few")
def test_all_parts_have_a_line_each(check: Check) -> None:
    status, out, _ = check()
    lines = out.splitlines()
    assert status == 0
    assert [line.split()[:4] for line in lines[:-2]] == [["rule", name, "6", "held"] for name in registry.names("rule")]
    assert lines[-1].endswith("5 parts checked in 0 s: all contracts hold.")


def test_an_unknown_name_is_said_before_anything_is_checked(check: Check) -> None:
    status, out, err = check("residual", "lsrm")
    assert (status, out) == (2, "")
    assert err.startswith("hfbench: no part 'lsrm' (did you mean 'lsmr'?); `hfbench list` lists them all.")


def test_a_plugin_alone_means_its_parts(check: Check, plugin: Path) -> None:
    status, out, err = check("--plugin", plugin)
    assert (status, err) == (1, "")
    assert out.splitlines() == [
        f"rule patience ({plugin})",
        "  held     begins a test",
        "  held     says what it reads",
        "  held     answers with a reason or none",
        "  held     begins anew for every solve",
        "  held     leaves states alone",
        "  held     draws no random numbers",
        f"rule says-true ({plugin})",
        "  held     begins a test",
        "  held     says what it reads",
        "  BROKEN   answers with a reason or none",
        "           expected  a member of hfbench.parts.Stop, or None, at step 0",
        "           came      False",
        "           matters   the reason is recorded in the trace; True is none",
        "  held     begins anew for every solve",
        "  held     leaves states alone",
        "  held     draws no random numbers",
        "",
        "2 parts checked in 0 s: broken: rule says-true.",
    ]


def test_a_name_beside_a_plugin_means_that_part(check: Check, plugin: Path) -> None:
    status, out, _ = check("patience", "--plugin", plugin)
    assert status == 0
    assert "1 part checked" in out


def test_a_plugin_that_cannot_be_loaded_is_status_1_and_nothing_else_is_checked(check: Check, tmp_path: Path) -> None:
    file = tmp_path / "acme_broken.py"
    file.write_text("1 / 0\n")
    status, out, err = check("--plugin", file)
    assert status == 1
    assert out.strip() == "0 parts checked in 0 s: broken: plugin acme_broken.py."
    assert "ZeroDivisionError: division by zero" in err


@pytest.mark.usefixtures("few")
def test_a_part_that_cannot_be_imported_stops_no_other(check: Check, install: Callable[..., Path]) -> None:
    entry_points = "[hfbench.rules]\nabsent = acme_absent:Rule\nnever = acme_parts:Never\n"
    install("acme", entry_points, acme_parts=PART, acme_absent="raise ValueError('no such data set')\n")
    status, out, _ = check()
    assert status == 1
    assert "  BROKEN   can be loaded" in out
    assert "ValueError: no such data set" in out
    assert "rule never" in out
    assert out.rstrip().endswith("broken: rule absent.")
    assert check("never")[0] == 0


def test_an_exception_is_told_with_the_line_of_the_part(check: Check, install: Callable[..., Path]) -> None:
    site = install("acme", "[hfbench.rules]\nfails = acme_parts:Fails\n", acme_parts=PART)
    status, out, _ = check("fails")
    said = " ".join(out.split())
    line = 1 + PART.splitlines().index("        return lambda state: 1 / 0")
    assert status == 1
    assert "expected no exception came ZeroDivisionError: division by zero" in said
    assert f"{site / 'acme_parts.py'}:{line}" in "".join(out.split())
    assert "matters an exception ends the run that the part is used in" in said


BY_KIND = """
from faulty import rules, solvers
from hfbench import registry
from hfbench.parts.hyperparameters import part


@part
class Tuples(solvers.YieldsTuples):
    "As it should not be."


@part
class Divides:
    "Fails whenever it is asked."

    needs = ()

    def begin(self):
        return lambda state: 1 / 0


@part
class Waits(rules.HonestPatience):
    "Never begins."

    def begin(self):
        while True:
            pass


registry.add("solver", "tuples", Tuples)
registry.add("rule", "divides", Divides)
registry.add("rule", "waits", Waits)
"""


@pytest.fixture
def by_kind(tmp_path: Path) -> Path:
    file = tmp_path / "by_kind.py"
    file.write_text(BY_KIND)
    return file


def test_after_a_wrong_kind_the_other_checks_are_not_run(check: Check, by_kind: Path) -> None:
    status, out, err = check("tuples", "--plugin", by_kind)
    said = " ".join(out.split())
    others = len(SolverContract.checks()) - 1
    assert (status, err) == (1, "")
    assert out.splitlines()[1] == "  BROKEN   states are states"
    assert "expected a state to have k, an int; q, a real number, int or float; relative_residual, a real" in said
    assert "came a tuple of length 3 matters" in said
    assert out.splitlines()[-3] == f"  not run  the other {others} checks, until this one holds"
    assert "exception" not in said


def test_the_same_exception_is_told_in_full_once(check: Check, by_kind: Path) -> None:
    status, out, _ = check("divides", "--plugin", by_kind)
    assert status == 1
    assert out.count("ZeroDivisionError: division by zero") == 1
    assert [line for line in out.splitlines() if line[2:3].strip()][1:] == [
        "  held     begins a test",
        "  BROKEN   says what it reads",
        "  BROKEN   answers with a reason or none: the same",
        "  BROKEN   begins anew for every solve: the same",
        "  BROKEN   leaves states alone: the same",
        "  BROKEN   draws no random numbers: the same",
        "1 part checked in 0 s: broken: rule divides.",
    ]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer can interrupt Python here")
def test_a_check_that_never_ends_is_ended(check: Check, by_kind: Path) -> None:
    status, out, _ = check("waits", "--plugin", by_kind, "--limit", 1)
    said = " ".join(out.split())
    loop = 1 + BY_KIND.splitlines().index("        while True:")
    assert status == 1
    assert (
        "BROKEN begins a test expected an end within 1 s (--limit gives it longer) came none: it was at work in" in said
    )
    assert any(f"{by_kind}:{line},inbegin" in "".join(out.split()) for line in (loop, loop + 1))
    assert "matters a run with such a part never ends not run the other 5 checks, until this one holds" in said


def test_a_part_of_a_file_that_was_skipped_is_broken(check: Check, tmp_path: Path) -> None:
    """A solver class without `iterates` cannot be registered: status 1, as for one of a package."""
    file = tmp_path / "acme_plugin.py"
    lines = [
        "from hfbench import registry",
        "from hfbench.parts.hyperparameters import part",
        "@part",
        "class Lame:",
        "    'None.'",
    ]
    file.write_text("\n".join([*lines, "registry.add('solver', 'lame', Lame)"]))
    status, out, err = check("lame", "--plugin", file)
    assert status == 1
    assert out.startswith(
        f"no part 'lame'; `hfbench list` lists them all. The plugin {file} was skipped: HfbenchError: "
    )
    assert out.endswith("broken: plugin acme_plugin.py.\n")
    ours = [line for line in err.splitlines() if line.startswith("  File")]
    assert ours == [f'  File "{file}", line 6, in <module>']
    fresh()
    assert check("lame")[0] == 2


def test_long_texts_wrap_under_their_labels(check: Check, tmp_path: Path) -> None:
    file = tmp_path / "long.py"
    file.write_text(
        "from faulty import solvers\nfrom hfbench import registry\nfrom hfbench.parts.hyperparameters import part\n"
        "@part\nclass WithoutHalf(solvers.WithoutHalf):\n    'As it should not be.'\n"
        "registry.add('solver', 'without-half', WithoutHalf)\n"
    )
    status, out, _ = check("--plugin", file)
    lines = out.splitlines()
    place = next(i for i, line in enumerate(lines) if line == "  BROKEN   reports true values")
    assert status == 1
    assert lines[place + 1].startswith("           expected  q = ")
    assert lines[place + 2].startswith(" " * 21)
    assert lines[place + 3].startswith("           came      ")
    assert max(map(len, lines[place : place + 8])) <= 80
    assert not any(line != line.rstrip() for line in lines)


def told_on(terminal: bool) -> str:
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=terminal, markup=False, highlight=False)
    assert check_parts(["residual"], console) == 0
    return file.getvalue()


def test_a_terminal_sees_what_is_at_work_and_a_file_does_not() -> None:
    said = told_on(terminal=True)
    assert "checking rule residual" in said
    assert "checking rule residual: begins anew for every solve" in said
    assert "checking" not in told_on(terminal=False)
    assert "\x1b" not in told_on(terminal=False)


def test_parts_are_added_by_whoever_likes(check: Check, plugin: Path) -> None:
    """In a notebook, checking without names checks what was added there."""
    check("--plugin", plugin)
    file = io.StringIO()
    status: Any = check_parts([], Console(file=file, width=80))
    assert status == 1
    assert "2 parts checked" in file.getvalue()
