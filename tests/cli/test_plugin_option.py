"""`--plugin` on the command line: what runs, what is said once, and what writes nothing."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.plugin_files import LINE, METHOD, PLUGIN, fresh
from support.tiny_study import TEXT, uses_mlflow

from hfbench.cli import main
from hfbench.records.files import read_json

pytestmark = pytest.mark.usefixtures("forgotten")

Write = Callable[..., Path]


@pytest.fixture
def hf(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], results: Path) -> Callable[..., Any]:
    """Runs the console script in this process, at one job, as a process of its own would: (status, stdout, stderr)."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("hfbench.report.study_figures.draw_figures", lambda *of: [])
    monkeypatch.setenv("HFBENCH_RESULTS", str(results))

    def call(*arguments: object) -> tuple[int, str, str]:
        fresh()
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["hfbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main.main()
        out, err = capsys.readouterr()
        return caught.value.code if isinstance(caught.value.code, int) else 0, out, err

    return call


@uses_mlflow
@pytest.mark.usefixtures("own_store")
def test_run_compare_and_export_take_a_plugin(
    hf: Callable[..., Any], write: Write, tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study, file = write("tiny.toml", TEXT + METHOD), write("my plugin.py")
    options = ["--plugin", "my plugin.py", "--only", "steepest", "--seeds", "1"]
    status, out, err = hf("run", study, "--jobs", 1, *options)
    assert (status, err) == (0, "")
    assert "2 methods x 1 task x 1 seed = 2 runs" in out
    command = "hfbench run tiny.toml --plugin 'my plugin.py' --seeds 1 --only steepest"
    assert command in (results / "studies/tiny/report.md").read_text()
    recorded = read_json(results / "studies/tiny/study.json") or {}
    assert recorded["plugins"] == [str(file)]
    status, out, err = hf("compare", study, *options)
    assert (status, err) == (0, "")
    assert "2 of 2 runs are recorded" in out
    status, out, err = hf("export", study, "out.parquet", *options)
    assert (status, err) == (0, "")
    assert out.startswith("2 of 2 runs of tiny written to out.parquet")
    status, out, err = hf("compare", study)
    assert status == 2
    assert err.startswith(f"hfbench: {study}: methods.steepest.solver: no solver 'steepest'; known: cg, ")


@uses_mlflow
@pytest.mark.usefixtures("own_store")
def test_a_study_that_does_not_need_the_broken_plugin_runs(hf: Callable[..., Any], write: Write) -> None:
    file = write("plugin.py", PLUGIN + "1 / 0")
    study = write("tiny.toml", TEXT + "[plugins]\nfiles = ['plugin.py']\n")
    status, out, err = hf("run", study, "--plugin", file, "--jobs", 1, "--seeds", 1)
    assert status == 0, out
    assert "hf/tiny-curves/s0" in out
    assert err.startswith(f"hfbench: the plugin {file} could not be loaded and is skipped.\nTraceback (most recent")
    assert err.count("ZeroDivisionError: division by zero\n") == 1
    assert f'File "{file}", line {LINE + 4}, in <module>\n' in err


def test_a_study_that_needs_it_says_so_in_one_message_and_writes_nothing(
    hf: Callable[..., Any], write: Write, results: Path
) -> None:
    shutil.rmtree(results)
    file, study = write("plugin.py", PLUGIN + "1 / 0"), write("tiny.toml", TEXT + METHOD)
    for command in ("run", "compare", "sweep"):
        status, out, err = hf(command, study, "--plugin", file)
        assert (status, out) == (2, "")
        message = err.splitlines()[-1]
        assert message.startswith(f"hfbench: {study}: methods.steepest.solver: no solver 'steepest'; known: cg, ")
        why = f"The plugin {file} was skipped: ZeroDivisionError: division by zero ({file}:{LINE + 4})."
        assert message.endswith(f". {why}")
        assert err.count("Traceback") == 1
    assert not results.exists()


@pytest.mark.parametrize("command", ["run", "compare", "sweep", "list", "show", "check"])
def test_a_file_that_is_not_there_is_one_message_and_status_2(
    hf: Callable[..., Any], results: Path, command: str
) -> None:
    shutil.rmtree(results)
    name = {"show": ["cg"], "list": []}.get(command, ["quickstart"])
    said = "hfbench: --plugin: must name a Python file that adds parts, but gone.py does not exist.\n"
    assert hf(command, *name, "--plugin", "gone.py") == (2, "", said)
    assert not results.exists()


def test_list_and_show_take_a_plugin(hf: Callable[..., Any], write: Write) -> None:
    file = write("plugin.py")
    status, out, err = hf("list", "solver", "--plugin", file)
    assert (status, err) == (0, "")
    assert f"\n\nsolver · {file}\n  steepest  Steepest descent." in out
    assert "--load" not in out  # it is open already
    assert hf("show", "steepest", "--plugin", file)[1].startswith("solver steepest\nSteepest descent.\n")
    file = write("plugin.py", PLUGIN + "1 / 0")
    status, out, err = hf("show", "steepest", "--plugin", file)
    assert (status, out, err.count("Traceback")) == (2, "", 1)
    assert err.splitlines()[-1].startswith("hfbench: no part or study 'steepest'")
    assert f"The plugin {file} was skipped: ZeroDivisionError: division by zero ({file}:" in err.splitlines()[-1]
    status, out, err = hf("list", "solver", "--plugin", file)
    assert (status, err.count("Traceback"), "Traceback" in out) == (0, 1, False)
    assert "  cg " in out


def test_a_name_that_is_taken_is_one_message_whatever_the_command(hf: Callable[..., Any], write: Write) -> None:
    file = write("plugin.py", PLUGIN.replace("'steepest'", "'cg'"))
    study = write("tiny.toml", TEXT)
    said = f"and {file}. Choose another name.\n"
    for command in (["run", study], ["list"], ["show", "lsmr"]):
        status, out, err = hf(*command, "--plugin", file)
        assert (status, out) == (2, "")
        assert err.startswith("hfbench: --plugin: two parts claim the solver name 'cg': hfbench ")
        assert err.endswith(said)
        assert err.count("\n") == 1


def test_a_broken_package_is_one_message_with_the_place(
    hf: Callable[..., Any], write: Write, install: Callable[..., Path]
) -> None:
    site = install("acme", "[hfbench.solvers]\nsteepest = acme_broken:Steepest\n", acme_broken="\n1 / 0\n")
    said = (
        "solver 'steepest' of acme 1.5 cannot be imported from acme_broken:Steepest: "
        f"ZeroDivisionError: division by zero ({site / 'acme_broken.py'}:2).\n"
    )
    study = write("tiny.toml", TEXT + METHOD)
    assert hf("show", "steepest") == (2, "", f"hfbench: {said}")
    assert hf("run", study) == (2, "", f"hfbench: {study}: methods.steepest.solver: {said}")
