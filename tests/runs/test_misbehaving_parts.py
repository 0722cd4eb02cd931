"""Parts that misbehave cost their own runs alone: every other method's record is as if they were not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.misbehaviour import ACTS, HANGS, HEAD, IMPORTS, REFUSED, Act, plugin, study
from support.plugin_files import fresh
from support.tiny_study import uses_mlflow

from hfbench.cli import main

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store", "undrawn", "forgotten")]

HONEST = ("hf/tiny-curves", "shf/tiny-curves")
# Acts of each kind, for the tests that always run.
FEW = ("exits", "unpickled", "dies", "forks", "patched_tensor", "few_files", "endless", "dies_in_model")

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def hf(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs the console script in this process, its runs in processes of their own: (status, what was printed)."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("RESULTS_OF_TEST", str(tmp_path / "bad"))

    def call(*arguments: object) -> tuple[int, str]:
        fresh()
        monkeypatch.setattr(sys, "argv", ["hfbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main.main()
        return caught.value.code if isinstance(caught.value.code, int) else 0, "".join(capsys.readouterr())

    return call


def results_of(results: Path) -> dict[str, dict[str, Any]]:
    """By `method/task`."""
    found = [json.loads(file.read_text()) for file in (results / "runs").glob("*/result.json")]
    return {f"{result['method']}/{result['task']}": result for result in found}


def of_act(name: str, results: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The result of the one run that has the act, in its method or its task."""
    return results[f"{name}/tiny-curves"] if f"{name}/tiny-curves" in results else results[f"hf/{name}"]


def traces(results: Path) -> dict[str, pd.DataFrame]:
    """What is the same at every repetition, of the honest methods."""
    found = {}
    for name, result in results_of(results).items():
        if name in HONEST:
            trace = pd.read_parquet(results / "runs" / result["key"] / "trace.parquet")
            found[name] = trace[[column for column in trace if column != "seconds" and "memory" not in column]]
    return found


def written(folder: Path, acts: Mapping[str, Act], budget: str = "iterations = 6") -> tuple[object, ...]:
    """Options of a study with these acts."""
    (folder / "plugin.py").write_text(plugin(acts))
    (folder / "bad.toml").write_text(study(acts, budget))
    return (folder / "bad.toml", "--plugin", folder / "plugin.py", "--results", folder / "bad")


def check_honest(hf: Run, folder: Path, budget: str = "iterations = 6") -> None:
    """The honest methods' records are those of a study without the others."""
    (folder / "tiny.toml").write_text(study({}, budget))
    assert hf("run", folder / "tiny.toml", "--jobs", 1, "--results", folder / "alone")[0] == 0
    alone, beside = traces(folder / "alone"), traces(folder / "bad")
    assert sorted(alone) == sorted(beside) == sorted(HONEST)
    for name, trace in alone.items():
        pd.testing.assert_frame_equal(trace, beside[name], check_exact=True)


def check_acts(acts: Mapping[str, Act], results: Mapping[str, dict[str, Any]]) -> None:
    for name, act in acts.items():
        result = of_act(name, results)
        if act.said is not None:
            assert result["outcome"] == "failed", name
            assert act.said in result["error"], name
            assert act.cause in ("", result["cause"]), name


def test_a_task_without_cases_for_the_test_is_refused_before_anything_runs(tmp_path: Path, hf: Run) -> None:
    empty = Act("load", "loaded = replace(loaded, test=replace(loaded.test, inputs=loaded.test.inputs[:0]))")
    status, printed = hf("run", *written(tmp_path, {"empty_data": empty}), "--jobs", 2)
    assert status == 2
    assert "tasks.empty_data: its data must have cases to train on" in printed
    assert not (tmp_path / "bad" / "runs").exists()


@pytest.mark.parametrize(
    ("names", "jobs"),
    [
        (FEW, 2),
        pytest.param(tuple(ACTS), 1, marks=pytest.mark.slow),
        pytest.param(tuple(ACTS), 2, marks=pytest.mark.slow),
    ],
    ids=["few", "all, one job", "all, two jobs"],
)
def test_each_costs_its_own_runs_alone(tmp_path: Path, hf: Run, names: tuple[str, ...], jobs: int) -> None:
    acts = {name: ACTS[name] for name in names}
    status, printed = hf("run", *written(tmp_path, acts), "--jobs", jobs)
    assert status == 1, printed
    assert "Traceback" not in printed
    results = results_of(tmp_path / "bad")
    assert len(results) == len(acts) + len(HONEST)
    check_acts(acts, results)
    check_honest(hf, tmp_path)


def test_there_are_many_of_all_families() -> None:
    assert len(ACTS) + len(HANGS) + len(IMPORTS) + len(REFUSED) >= 60
    places = {act.place for act in ACTS.values()}
    assert places >= {"solver", "preconditioner", "scheduler", "rule", "optimizer", "load", "model", "error"}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_raised_where_a_study_is_read_refuses_it(tmp_path: Path, hf: Run, name: str) -> None:
    status, printed = hf("run", *written(tmp_path, {name: REFUSED[name]}), "--jobs", 2)
    assert status == 2
    assert "Traceback" not in printed
    assert REFUSED[name].said in printed  # type: ignore[operator]
    assert not (tmp_path / "bad").exists()


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [pytest.param(1, marks=pytest.mark.long), 2])
def test_what_does_not_return_is_ended(tmp_path: Path, hf: Run, monkeypatch: pytest.MonkeyPatch, jobs: int) -> None:
    monkeypatch.setattr("hfbench.execution.processes.BEYOND", (1.0, 1.0))
    monkeypatch.setattr("hfbench.execution.preflight.PATIENCE", 2.0)
    monkeypatch.setattr("hfbench.runs.meters.GRACE", 1.0)
    budget = "iterations = 6, seconds = 3.0"
    status, printed = hf("run", *written(tmp_path, HANGS, budget), "--jobs", jobs)
    assert status == 1, printed
    assert "Traceback" not in printed
    check_acts(HANGS, results_of(tmp_path / "bad"))
    check_honest(hf, tmp_path, budget)


@pytest.mark.slow
@pytest.mark.parametrize("name", IMPORTS)
def test_a_file_that_misbehaves_is_skipped_or_refused(tmp_path: Path, name: str) -> None:
    code, status, said = IMPORTS[name]
    (tmp_path / "plugin.py").write_text(f"{HEAD}\n{code}\n")
    program = [sys.executable, "-m", "hfbench", "list", "rule", "--plugin", str(tmp_path / "plugin.py")]
    done = subprocess.run(program, env=os.environ | {"COLUMNS": "300"}, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert said in done.stderr
    assert ("relative-progress" in done.stdout) == (status == 0)


DAMAGES = {
    "overwrites": "[(folder / 'result.json').write_text('{}') for folder in others()]",
    "forges": "[(folder / 'trace.parquet').write_bytes(b'x') for folder in others()]",
    "deletes": "[shutil.rmtree(folder) for folder in others()]",
    "empties": "shutil.rmtree(os.environ['RESULTS_OF_TEST'])",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGES)
def test_damage_to_records_of_others_is_seen_and_made_good(tmp_path: Path, hf: Run, name: str) -> None:
    """A part can reach all files of its user; but no damaged record is believed."""
    options = written(tmp_path, {name: Act("solver", f"{DAMAGES[name]}; os._exit(1)")})
    status, printed = hf("run", *options, "--jobs", 1)
    assert status != 0
    assert "Traceback" not in printed
    (tmp_path / "bad.toml").write_text(study({}))
    status, printed = hf("run", tmp_path / "bad.toml", "--jobs", 1, "--results", tmp_path / "bad")
    assert status == 0
    assert "Traceback" not in printed
    check_honest(hf, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("code", "said"), [("time.sleep(600)", "did not return"), ("os._exit(0)", "exited with")])
def test_a_plan_ends_with_one_job(
    tmp_path: Path, hf: Run, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    monkeypatch.setattr("hfbench.execution.processes.BEYOND", (1.0, 1.0))
    monkeypatch.setattr("hfbench.execution.preflight.PATIENCE", 2.0)
    status, printed = hf(
        "run", *written(tmp_path, {"odd": Act("solver", code)}, "iterations = 6, seconds = 3.0"), "--jobs", 1, "--plan"
    )
    assert status == 1, printed
    assert said in printed
    assert "Cost of one run" in printed
    assert "Traceback" not in printed
