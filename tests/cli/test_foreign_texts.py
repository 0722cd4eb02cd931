"""Texts of files, plugins, libraries and the environment on the screen: shown as they are, acted on by nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.plugin_files import fresh
from support.pseudo_terminal import PseudoTerminal, typed
from support.tiny_study import TEXT, results_folder, uses_mlflow
from support.tiny_sweep import TEXT as SWEEP

from hfbench.cli import main
from hfbench.messages import UNPRINTABLE

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store", "undrawn", "forgotten")]

# Clear the screen, fill the clipboard, colour, C1, go back, reorder.
ACTS = "\x1b[2J\x1b]52;c;aGkh\x07\x1b[38;5;99m\x9b31m\r\b\u202e\u2066\u061c"
SHOWN = "[red]x[nothing] [u] :smile:"  # markup of rich, and the name of an emoji
HOSTILE = ACTS + SHOWN + " [/]"
PLACE = ACTS + SHOWN  # has no slash
OF_RICH = re.compile(r"\x1b\[(?:(?:\d|[349][0-79]);?)*m|\x1b\[\?25[lh]|\x1b\[2K|\x1b\[1A|\r")  # colours and bars

PLUGIN = f"""
from hfbench import registry
from hfbench.parts import part
from hfbench.solvers.cg import CG

HOSTILE = {HOSTILE!r}

@part
class Odd(CG):
    __doc__ = HOSTILE + "\\n\\n" + HOSTILE

    def iterates(self, system, x0, preconditioner):
        raise ValueError(HOSTILE)

registry.add("solver", "odd", Odd)
"""
NOISE = f"""
import logging, sys
HOSTILE = {HOSTILE!r}
print(HOSTILE)
sys.stderr.writelines([HOSTILE])
logging.getLogger("mlflow").warning(HOSTILE)
logging.getLogger("of.mine").warning(HOSTILE)
"""
METHOD = """
[methods.odd]
solver = "odd"
preconditioner = "martens"
scheduler = "fixed"
"""
CLAIM = f"""
[hypotheses.same]
says = {json.dumps(HOSTILE)}
method = "shf"
measure = "final_test_error"
expects = "equivalent"
"""
QUESTION = f"question = {json.dumps(HOSTILE)}"


class Folder:
    """A study, a plugin, and the results of the study."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.plugin = path / "odd.py"
        self.plugin.write_text(PLUGIN)
        self.study = path / "tiny.toml"
        self.study.write_text(re.sub("question = .*", lambda _: QUESTION, TEXT) + METHOD + CLAIM)
        self.results = results_folder(path / "results")
        self.of_study = (self.study, "--plugin", self.plugin, "--results", self.results)

    def write(self, name: str, text: str) -> Path:
        (self.path / name).write_text(text)
        return self.path / name


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A study with the runs that are made of it, one method failing."""
    folder = Folder(tmp_path_factory.mktemp("recorded"))
    program = [sys.executable, "-m", "hfbench", "run", *map(str, folder.of_study), "--jobs", "1"]
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(program, env=environment, capture_output=True, check=False)
    assert done.returncode == 1
    assert SHOWN.encode() in done.stdout
    return folder


Asked = Callable[[Folder], tuple[object, ...]]
COMMANDS: dict[str, Asked] = {
    "list": lambda folder: ("list", "solver", "--load", "--plugin", folder.plugin),
    "show": lambda folder: ("show", "odd", "--plugin", folder.plugin),
    "noise": lambda folder: ("list", "task", "--plugin", folder.write("noise.py", NOISE)),
    "skipped": lambda folder: ("list", "task", "--plugin", folder.write("bad.py", f"raise ValueError({HOSTILE!r})")),
    "run": lambda folder: ("run", *folder.of_study, "--jobs", 1),
    "bars": lambda folder: ("run", *folder.of_study, "--jobs", 2),
    "plan": lambda folder: ("run", *folder.of_study, "--plan", "--jobs", 1),
    "shard": lambda folder: ("run", *folder.of_study, "--shard", "1/1", "--jobs", 1),
    "compare": lambda folder: ("compare", *folder.of_study),
    "export": lambda folder: ("export", folder.study, folder.path / f"{PLACE}.parquet", *folder.of_study[1:]),
    "import": lambda folder: ("import", folder.study, *folder.of_study[1:]),
    "absent": lambda folder: ("import", folder.study, folder.path / PLACE, *folder.of_study[1:]),
    "new": lambda folder: ("new", "solver", "my-odd", "--into", folder.path / PLACE),
    "ui": lambda folder: ("ui", "--results", folder.path / PLACE),
    "data": lambda folder: ("data", "where", "mnist", "--data", folder.path / PLACE),
    "study": lambda folder: ("run", folder.path / f"{PLACE}.toml"),
    "key": lambda folder: ("run", folder.study, "--set", f"study.{PLACE}=1"),
    "value": lambda folder: ("run", *folder.of_study, "--set", f"study.primary={PLACE}"),
    "command": lambda folder: (PLACE,),
    "option": lambda folder: ("run", f"--{PLACE}"),
    "family": lambda folder: ("list", PLACE),
    "part": lambda folder: ("show", PLACE),
    "systems": lambda folder: ("probe", "solvers", folder.path / PLACE),
    "diagnose": lambda folder: ("diagnose", *folder.of_study, "--from", folder.path / PLACE),
}
SLOW = ("bars", "plan", "shard")


def acted_on(text: str) -> list[str]:
    return UNPRINTABLE.findall(text.replace("\r\n", "\n"))


@pytest.fixture
def folder(recorded: Folder, monkeypatch: pytest.MonkeyPatch) -> Folder:
    fresh()
    monkeypatch.setenv("COLUMNS", "2000")  # nothing is folded
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("HFBENCH_DATA", raising=False)
    monkeypatch.setattr("hfbench.parts.data_files.cache_folder", lambda: recorded.path / "cache")
    return recorded


commands = pytest.mark.parametrize(
    "command", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in COMMANDS]
)


@commands
def test_on_a_terminal_only_colours_and_bars_are_codes(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    terminal = PseudoTerminal()
    typed(terminal, monkeypatch, *COMMANDS[command](folder))
    shown = OF_RICH.sub("", terminal.text)
    assert SHOWN in shown
    assert "\x1b[38;5;99m" not in terminal.text
    assert acted_on(shown) == []
    assert "Traceback" not in shown or command == "skipped"


@commands
def test_elsewhere_there_are_no_codes(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["hfbench", *map(str, COMMANDS[command](folder))])
    with pytest.raises(SystemExit):
        main.main()
    out, err = capsys.readouterr()
    assert SHOWN in out + err
    assert acted_on(out + err) == []
    assert "Traceback" not in out + err or command == "skipped"


@commands
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_lacks_signs_shows_others(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, command: str, encoding: str
) -> None:
    terminal = PseudoTerminal(encoding)
    typed(terminal, monkeypatch, *COMMANDS[command](folder))
    assert SHOWN in OF_RICH.sub("", terminal.text)
    assert "UnicodeEncodeError" not in terminal.text


def test_values_of_the_environment_are_no_codes(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HFBENCH_DATA", PLACE)
    monkeypatch.setattr(sys, "argv", ["hfbench", "list", "rule"])
    with pytest.raises(SystemExit):
        main.main()
    said = capsys.readouterr().err
    assert SHOWN in said
    assert acted_on(said) == []


def test_files_of_a_study_hold_no_codes(recorded: Folder) -> None:
    """People read them in a terminal."""
    files = [file for file in recorded.results.rglob("*") if file.suffix in (".md", ".txt", ".json", ".csv", ".html")]
    assert {file.name for file in files} >= {"error.txt", "report.md", "result.json", "report.html"}
    for file in files:
        assert acted_on(file.read_text("utf-8")) == [], file


@pytest.mark.slow
def test_a_sweep_shows_and_writes_no_codes(folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("hfbench.sweep.conclusion._draw", lambda *of: [])
    study = tmp_path / "tiny.toml"
    study.write_text(re.sub("question = .*", lambda _: QUESTION, SWEEP % ""))
    terminal = PseudoTerminal()
    results = results_folder(tmp_path / PLACE)
    typed(terminal, monkeypatch, "sweep", study, "--results", results, "--jobs", 1)
    shown = OF_RICH.sub("", terminal.text)
    assert acted_on(shown) == []
    assert SHOWN in shown
    for file in results.rglob("*.md"):
        assert acted_on(file.read_text("utf-8")) == [], file


@pytest.mark.slow
def test_processes_of_runs_write_no_codes(recorded: Folder, tmp_path: Path) -> None:
    """What parts print, warn of or log in a run, with a process for each."""
    noise = f"{NOISE}import warnings\nwarnings.warn(HOSTILE)\n".replace("\n", "\n        ")
    plugin = recorded.write(
        "noisy.py", PLUGIN.replace("raise ValueError(HOSTILE)", noise + "\n        raise ValueError")
    )
    arguments = (recorded.study, "--plugin", plugin, "--results", results_folder(tmp_path / "results"))
    program = [sys.executable, "-m", "hfbench", "run", *map(str, arguments), "--jobs", "2", "--seeds", "1"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.stderr.count(SHOWN) >= 4
    assert acted_on(done.stdout + done.stderr) == []
