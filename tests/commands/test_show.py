"""`hfbench list` and `hfbench show` at 80 columns: one line each, and formula, source and hyper-parameters in full."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from rich.cells import cell_len

from hfbench import registry
from hfbench.cli import main
from hfbench.commands.show import UNOPENED, plain_console, print_globalization, print_list, print_part, print_study
from hfbench.parts.hyperparameters import Choice, Linear, Within, first_line, hyperparameters, part
from hfbench.parts.source_docstrings import UNLISTED

PARTS = [(family, name) for family in registry.FAMILIES for name in registry.names(family)]

Printed = Callable[..., str]


@part
class Plain:
    """Stops; [bold]brackets[/bold] are no markup.

    Formula    stop at once, or a little later, or after one more step of the solver, or when there is nothing to do
    """

    needs: ClassVar[tuple[str, ...]] = ()
    size: Annotated[int, Within("[1, inf)"), "how many"]
    share: Annotated[float, Linear(0.1, 0.5), Within("(0, 1)"), "which part"] = 0.25
    mode: Annotated[str, Choice("slow", "fast"), "how"] = "slow"
    cap: Annotated[float | None, "at most"] = None

    def begin(self) -> None: ...


@part
class Short:
    """One line."""

    needs: ClassVar[tuple[str, ...]] = ()

    def begin(self) -> None: ...


@part
class Silent:
    needs: ClassVar[tuple[str, ...]] = ()

    def begin(self) -> None: ...


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Printed:
    """What a function prints at 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(function: Callable[..., None], *arguments: Any) -> str:
        function(plain_console(), *arguments)
        return capsys.readouterr().out

    return call


@pytest.fixture
def shown(printed: Printed) -> Callable[[type], str]:
    """`show` of a class under the name of "toy"."""

    def call(cls: type) -> str:
        with registry.temporary("rule", "toy", cls):
            return printed(print_part, "rule", "toy")

    return call


# ---------------------------------------------------------------- list


def test_built_in_parts_take_one_line_each(printed: Printed) -> None:
    lines = [line.rstrip() for line in printed(print_list, registry.FAMILIES).splitlines()]
    entries = [line for line in lines if line.startswith("  ")]
    assert [line.split(maxsplit=1)[0] for line in entries] == [name for _, name in PARTS]
    for line, (family, name) in zip(entries, PARTS, strict=True):
        assert line.endswith(f"  {first_line(registry.get(family, name))}")
    headings = [line for line in lines if line and not line.startswith(" ")]
    assert headings == [f"{family} · hfbench {version('hfbench')}" for family in registry.FAMILIES]


def test_other_parts_are_listed_below_whose_they_are(printed: Printed) -> None:
    with registry.temporary("rule", "toy", Plain):
        out = printed(print_list, ["rule"])
    own, other = out.split("\n\n")
    assert own.startswith("rule · hfbench ")
    assert "toy" not in own
    heading, row = other.splitlines()
    assert heading == f"rule · {__file__}"
    assert row.split() == ["toy", *first_line(Plain).split()]


THIRD = """
from pathlib import Path
Path(__file__).with_name("imported").touch()
from hfbench.parts.hyperparameters import part

@part
class Third:
    '''A third party's rule.'''
    needs = ()
    def begin(self):
        return lambda state: None
"""
ENTRIES = {
    "third": "acme:Third",
    "gone": "acme_gone:Rule",
    "lost": "acme:Lost",
    "typo": "acme_typo:Rule",
    "late": "acme_late:Rule",
}
LATE = "class Rule:\n    'Fails when it is imported.'\n1 / 0\n"


@pytest.fixture
def acme(install: Callable[..., Path]) -> Path:
    """A distribution of parts, all but one of them broken."""
    entries = "".join(f"{name} = {value}\n" for name, value in ENTRIES.items())
    return install("acme", f"[hfbench.rules]\n{entries}", acme=THIRD, acme_typo="x = (", acme_late=LATE)


def _listed(*arguments: str, path: Path) -> str:
    """What the command prints in a process of its own, and what of it and of heavy packages was imported there."""
    program = (
        "import sys; from hfbench.cli import main\n"
        f"sys.argv = ['hfbench', 'list', *{arguments!r}]\n"
        "try: main.main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print(sorted({'acme', 'acme_late', 'torch', 'numpy', 'mlflow'} & set(sys.modules)))"
    )
    env = os.environ | {"PYTHONPATH": str(path), "COLUMNS": "200"}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


def test_a_list_imports_no_part_and_tells_what_the_source_shows(acme: Path) -> None:
    *said, imported = _listed("rule", path=acme).splitlines()
    _, of_acme, last = "\n".join(said).split("\n\n")
    assert [" ".join(line.split()) for line in of_acme.splitlines()] == [
        "rule · acme 1.5",
        f"gone error: rule 'gone' of acme 1.5: no module named 'acme_gone'. {UNLISTED}",
        "late Fails when it is imported.",
        f"lost error: rule 'lost' of acme 1.5: {acme / 'acme.py'} defines no class Lost.",
        "third A third party's rule.",
        f"typo error: rule 'typo' of acme 1.5: SyntaxError: '(' was never closed ({acme / 'acme_typo.py'}:1).",
    ]
    assert last == UNOPENED
    assert imported == "[]"
    assert not (acme / "imported").exists()


def test_a_group_that_no_family_has_is_told_of(
    install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = "[hfbench.solver]\nmine = acme:Third\n[hfbench.gizmos]\nodd = acme:Third\n[hfbenchmarks]\nx = acme:y\n"
    install("acme", groups, acme=THIRD)
    near = "acme 1.5 declares 'mine' in hfbench.solver, which is no group of parts (did you mean 'hfbench.solvers'?)."
    none = "acme 1.5 declares 'odd' in hfbench.gizmos, which is no group of parts; known: hfbench.solvers, "
    for command in (["list", "rule"], ["list"]):
        said = _refused(monkeypatch, capsys, *command)
        assert said[0].startswith(f"hfbench: {none}")
        assert said[1:] == [f"hfbench: {near}"]
    for command in ("show", "check"):
        (said,) = _refused(monkeypatch, capsys, command, "mine")
        assert said.endswith(f"`hfbench list` lists them all. {near}")


@pytest.mark.parametrize(
    ("name", "whose"),
    [
        ("chapelle-erhan", "the curvature's"),
        ("martens", "the gradient's"),
        ("kfac", "the curvature's or the gradient's"),
    ],
)
def test_a_preconditioner_says_whose_cases_it_is_built_on(printed: Printed, name: str, whose: str) -> None:
    assert f"Requires   built on {whose} cases\n" in printed(print_part, "preconditioner", name)


def test_a_solver_says_whether_it_takes_a_preconditioner(printed: Printed) -> None:
    @part
    class Plain:
        takes_preconditioner: ClassVar[bool] = False

        def iterates(self, system: Any, x0: Any, preconditioner: Any) -> None: ...

    assert "\nTakes      any preconditioner\n" in printed(print_part, "solver", "lsmr")
    with registry.temporary("solver", "plain", Plain):
        assert "\nTakes      no preconditioner\n" in printed(print_part, "solver", "plain")


@pytest.mark.parametrize("command", ["show", "check"])
def test_a_name_that_is_not_known_comes_with_the_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (said,) = _refused(monkeypatch, capsys, command, "steepest")
    cure = "One just declared in a pyproject.toml needs `pip install -e .` once more."
    assert said.endswith(f"'steepest'; `hfbench list` lists them all. {cure}")


def _refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """What the command says on stderr."""
    capsys.readouterr()
    monkeypatch.setattr("sys.argv", ["hfbench", *arguments])
    with pytest.raises(SystemExit):
        main.main()
    return capsys.readouterr().err.splitlines()


def test_list_load_imports_every_part_and_shows_why_one_is_broken(acme: Path) -> None:
    said = _listed("--load", "rule", path=acme)
    assert UNOPENED not in said
    assert (acme / "imported").exists()
    assert "  third              A third party's rule." in said
    assert "  residual           Stop when " in said
    why = f"ZeroDivisionError: division by zero ({acme / 'acme_late.py'}:3)."
    assert f"rule 'late' of acme 1.5 cannot be imported from acme_late:Rule: {why}" in " ".join(said.split())
    assert f'File "{acme / "acme_late.py"}", line 3, in <module>' in said
    assert "importlib" not in said
    assert said.count("division by zero") == 1
    for reason in (f"No module named 'acme_gone'. {UNLISTED}", "has no attribute 'Lost'.", "'(' was never closed"):
        assert reason in " ".join(said.split())


def test_a_list_of_built_in_and_added_parts_says_nothing_of_others(printed: Printed) -> None:
    with registry.temporary("rule", "toy", Plain):
        assert UNOPENED not in printed(print_list, [*registry.FAMILIES, "study"])


def test_a_name_with_two_owners_is_listed_as_such(printed: Printed, install: Callable[..., Path]) -> None:
    install("zeta", "[hfbench.rules]\nresidual = zeta:Rule\nother = zeta:Rule\n", zeta=THIRD.replace("Third:", "Rule:"))
    out = printed(print_list, ["rule"])
    assert "rule · several owners\n  residual           error: two parts claim the rule name 'residual':" in out
    assert "rule · zeta 1.5\n  other              A third party's rule." in out


def test_names_line_up_across_families(printed: Printed) -> None:
    out = printed(print_list, ["solver", "rule", "study"])
    starts = {line.index(text) for line in out.splitlines() for text in ("Conjugate", "Stop ", "Does ") if text in line}
    assert len(starts) == 1


# ---------------------------------------------------------------- show


@pytest.mark.parametrize(("family", "name"), PARTS)
def test_every_built_in_part_shows_formula_source_and_all_hyper_parameters(
    printed: Printed, family: str, name: str
) -> None:
    out = printed(print_part, family, name)
    cls = registry.get(family, name)
    lines = out.splitlines()
    assert lines[:3] == [f"{family} {name}", first_line(cls), ""]
    labels = {line.split(maxsplit=1)[0] for line in lines if line[:1].isupper()}
    assert {"Source", "Code"} <= labels
    assert labels & {"Problem", "Formula", "Variance", "Loss"}
    for one in hyperparameters(cls):
        at = next(place for place, line in enumerate(lines) if line.startswith(f"  {one.name} "))
        assert lines[at + 1] == f"    {one.meaning}"
        assert lines[at + 2].startswith(f"    allowed: {one.allowed}   ")
    assert ("It has no hyper-parameters." in lines) == (not hyperparameters(cls))


@pytest.mark.parametrize(("family", "name"), PARTS)
def test_docs_of_built_in_parts_fit_in_80_columns(printed: Printed, family: str, name: str) -> None:
    cls = registry.get(family, name)
    docs = [cls.__doc__ or "", sys.modules[cls.__module__].__doc__ or ""]
    known = {line.strip() for doc in docs for line in doc.splitlines()}
    about = printed(print_part, family, name).split("\n\n")[1].splitlines()
    assert max(map(cell_len, about)) <= 80
    assert [line for line in about if line.strip() not in known] == [], "a line was broken"


def test_lsmr_shows_the_algorithm_and_the_paper(printed: Printed) -> None:
    out = printed(print_part, "solver", "lsmr")
    for text in ("minimise ‖Ãx - b̃‖", "Fong and Saunders (2011), section 2", "zeta", "It has no hyper-parameters."):
        assert text in out
    source, line = out.split()[-1].rsplit(":", 1)
    assert source == str((Path(__file__).parents[2] / "solvers" / "lsmr.py").resolve())
    assert "class LSMR" in "".join(Path(source).read_text().splitlines()[int(line) - 1 : int(line) + 3])


def test_hyper_parameters_as_in_a_study_file(shown: Callable[[type], str]) -> None:
    paragraph = shown(Plain).split("\n\n")[3]
    assert paragraph.splitlines() == [
        "Hyper-parameters",
        "  size (must be given)",
        "    how many",
        "    allowed: a whole number in [1, inf)   not searched",
        "  share = 0.25",
        "    which part",
        "    allowed: a number in (0, 1)   search: 0.1 to 0.5",
        '  mode = "slow"',
        "    how",
        "    allowed: 'slow' or 'fast'   search: any of them",
        "  cap (not set)",
        "    at most",
        "    allowed: a number or nothing   not searched",
    ]


def test_long_lines_go_on_below_the_text_of_their_label(shown: Callable[[type], str]) -> None:
    about = shown(Plain).split("\n\n")[1].splitlines()
    assert len(about) == 2
    assert about[0].startswith("Formula    stop at once")
    assert about[1].startswith(" " * 11 + "s")


def test_one_line_on_a_class_leaves_the_rest_to_its_module(
    shown: Callable[[type], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "__doc__", "Module.\n\nSource     a paper\n")
    assert shown(Short).startswith("rule toy\nOne line.\n\nSource     a paper\n\nRequires   nothing\n\nIt ")
    assert "a paper" not in shown(Plain)


def test_a_part_without_docstring_has_none_made_up(shown: Callable[[type], str]) -> None:
    assert shown(Silent).startswith("rule toy\n\nRequires   nothing\n\nIt has no hyper-parameters.\n\nCode ")


def test_a_study_shows_what_it_fixes_and_where_its_file_is(printed: Printed) -> None:
    lines = [line.rstrip() for line in printed(print_study, "quickstart").splitlines()]
    assert lines[0] == "study quickstart"
    assert lines[1].startswith("Does LSMR")
    (task,) = (line for line in lines if line.startswith("  task      "))
    assert task == "  task      curves-small: to test error 8.5 within 1500 passes, 2 methods, seeds"
    assert lines[lines.index(task) + 1] == "            0-6"
    assert "  baseline  hf" in lines
    assert "  shf-lsmr  lsmr, chapelle-erhan, dynamic, relative-progress" in lines
    assert Path(lines[-1].removeprefix("File       ")).read_text().count('name = "quickstart"') == 1


def test_a_study_shows_its_claims(printed: Printed) -> None:
    text = " ".join(printed(print_study, "paper").split())
    assert "shf not-worse than hf by final_test_error" in text
    assert "shf better than shf_flat by peak_memory" in text


def test_the_settings_of_globalization_are_shown_as_those_of_a_part(printed: Printed) -> None:
    text = printed(print_globalization)
    assert text.startswith("globalization\nWarm start, backtracking")
    assert "lambda_0   `initial_damping` suits a task if the first step's rho lies" in text
    assert "  initial_damping = 45.0\n    lambda_0\n" in text
    assert "Code       hfbench.hessian_free.globalization.Globalization" in text
