"""Commands on the screen: as they must be typed, whatever shows them."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hfbench.cli.main import app
from hfbench.execution.screen import COMMANDS, Screen, as_typed_here, program

PYTHON = Path(sys.executable).name


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`.venv/bin/hfbench` in the working directory, not on the path; hfbench was started by it."""
    binary = tmp_path / ".venv/bin/hfbench"
    binary.parent.mkdir(parents=True)
    for file in (binary, binary.with_name(PYTHON)):
        file.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "argv", [".venv/bin/hfbench", "run"])
    return binary


def test_every_command_is_known() -> None:
    names = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert {name.rstrip("_") for name in names} | {group.name for group in app.registered_groups} == set(COMMANDS)


def test_a_program_is_named_as_it_is_reached_from_here(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert program(".venv/bin/hfbench") == program(str(environment)) == ".venv/bin/hfbench"
    monkeypatch.chdir(environment.parent)
    assert program("./hfbench") == "./hfbench"
    assert program("hfbench") == "hfbench"
    elsewhere = environment.parents[2] / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert program(str(environment)) == str(environment)
    monkeypatch.setenv("PATH", str(environment.parent))
    assert program(str(environment)) == "hfbench"


def test_hfbench_started_as_a_module_or_from_python(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(environment.with_name(PYTHON)))
    assert program("/somewhere/hfbench/__main__.py") == f".venv/bin/{PYTHON} -m hfbench"
    assert program("/somewhere/pytest") == program("-c") == program("") == "hfbench"


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("message", "typed"),
    [
        ("browse   hfbench ui --results x", "browse   .venv/bin/hfbench ui --results x"),
        ("`hfbench run` or `hfbench show x`", "`.venv/bin/hfbench run` or `.venv/bin/hfbench show x`"),
        ("hfbench finds runs; a/hfbench run; my-hfbench ui", "hfbench finds runs; a/hfbench run; my-hfbench ui"),
    ],
)  # fmt: skip
def test_messages_are_typed_as_here(message: str, typed: str) -> None:
    assert as_typed_here(message) == typed
    for shown in (message, Text(message), Padding(Text(message, style="dim"), (0, 0, 0, 0)), _table(message)):
        console = Screen(file=io.StringIO(), width=120)
        console.print(shown, soft_wrap=True)
        assert " ".join(console.file.getvalue().split()) == " ".join(typed.split())  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [str, Text, lambda text: Padding(text, 1), lambda text: _table(text)])
def test_texts_are_shown_as_they_are_written(kind: Callable[[str], Any]) -> None:
    screen = Screen(file=io.StringIO(), width=40, force_terminal=True, color_system="standard", highlight=False)
    screen.print(kind("[red]a[/red] [/] :smile: \x1b[2J\x9b\u202e"))
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]a[/red] [/] :smile: \N{REPLACEMENT CHARACTER}[2J" + 2 * "\N{REPLACEMENT CHARACTER}" in shown
    assert "\x1b" not in shown


def test_styles_bring_no_links() -> None:
    screen = Screen(file=io.StringIO(), width=40, force_terminal=True, color_system="standard")
    screen.print(Text("here", style="bold link http://x"))
    assert screen.file.getvalue() == "\x1b[1mhere\x1b[0m\n"  # type: ignore[attr-defined]


def test_replaced_signs_are_measured() -> None:
    """Rich takes a code of a terminal for nothing, and would break the columns."""
    screen = Screen(file=io.StringIO(), width=40)
    grid = Table.grid()
    grid.add_row("\x1b\x1b\x1b", "|")
    grid.add_row("abc", "|")
    screen.print(grid)
    assert {line.index("|") for line in screen.file.getvalue().splitlines()} == {3}  # type: ignore[attr-defined]


def _table(text: str) -> Table:
    grid = Table.grid()
    grid.add_row(text)
    return grid


@pytest.mark.usefixtures("environment")
def test_the_looks_of_a_text_stay() -> None:
    text = Text.assemble("see ", ("`hfbench ui`", "bold red"), " now", style="dim")
    console = Screen(file=io.StringIO(), width=80, force_terminal=True, color_system="standard")
    console.print(text)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[2msee \x1b[0m\x1b[1;2;31m`\x1b[0m" in shown
    assert "\x1b[1;2;31m ui`" in shown


def test_no_line_ends_between_a_number_and_its_unit() -> None:
    told = "needed 0.96x the work of cg (93.7 % CI 0.63-0.81) in 8.1 s, or with 80 % power"
    for width in range(20, 60):
        screen = io.StringIO()
        grid = Table.grid(padding=(0, 1))
        grid.add_row(" •", Text(told))
        Screen(file=screen, width=width).print(grid)
        lines = [line.rstrip() for line in screen.getvalue().splitlines()]
        assert " ".join(" ".join(lines).split()) == f"• {told}"
        assert not any(line.endswith(("93.7", "8.1", "80", "%")) for line in lines), lines
