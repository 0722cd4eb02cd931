"""`hfbench run`: verdicts, figures and MLflow, what the same command repeats, and processes that end or die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.tiny_study import (
    MISBEHAVING,
    Dies,
    Explodes,
    Raises,
    interrupt,
    mlflow_runs,
    run_quietly,
    specs,
    tiny,
    trace_of,
    uninterrupted,
    uses_mlflow,
)

from hfbench import registry
from hfbench.config.load import load_study
from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of
from hfbench.errors import ConfigError
from hfbench.execution.part_shipping import added_parts
from hfbench.interrupts import STOPPING
from hfbench.records.files import read_json
from hfbench.records.run_folder import RunFolder
from hfbench.tracking.mlflow_store import Tracker

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store", "undrawn")]


def logged(results: Path, study: Study) -> list[Any]:
    """Every MLflow run of the study."""
    return mlflow_runs(results, study.name)


def written(results: Path) -> dict[str, int]:
    """When each run folder's files were last written."""
    return {str(path): path.stat().st_mtime_ns for path in (results / "runs").rglob("*") if path.is_file()}


def test_a_study_ends_in_verdicts_figures_and_mlflow(results: Path, tmp_path: Path) -> None:
    study = tiny(tmp_path)
    status, screen = run_quietly(study, results)
    assert status == 0
    assert "2 methods x 1 task x 2 seeds = 4 runs, 1 at a time" in screen
    said = " ".join(screen.split())
    few = "With 2 seeds no comparison can reach a verdict: 1 comparison with 'hf' needs at least 6 paired seeds."
    assert said.index(few) < said.index("[1/4]"), "before anything starts"
    assert "[4/4] shf/tiny-curves/s1: reached the target" in screen
    assert "inconclusive (n too small)" in screen
    assert f"hfbench ui --results {results}" in screen

    folder = results / "studies" / "tiny"
    comparisons = (read_json(folder / "comparisons.json") or {})["comparisons"]
    runs = pd.read_parquet(folder / "runs.parquet")
    assert [one["method"] for one in comparisons] == ["shf"]
    assert list(zip(runs["method"], runs["seed"], strict=True)) == [("hf", 0), ("shf", 0), ("hf", 1), ("shf", 1)]
    assert set(runs["outcome"]) == {"reached"}

    entries = logged(results, study)
    parent = next(entry for entry in entries if "mlflow.parentRunId" not in entry.data.tags)
    children = {entry.info.run_name: entry for entry in entries if entry is not parent}
    assert set(children) == {f"{m}/tiny-curves/s{s}" for m in ("hf", "shf") for s in (0, 1)}
    assert {child.data.tags["mlflow.parentRunId"] for child in children.values()} == {parent.info.run_id}
    assert children["shf/tiny-curves/s1"].data.params["solver"] == "lsmr"
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["verdict/tiny-curves/shf-vs-hf"] == "inconclusive (n too small)"
    assert parent.data.metrics["stat/tiny-curves/shf/ratio"] == pytest.approx(comparisons[0]["ratio"])
    assert (read_json(folder / "comparisons.json") or {})["runs"] == {"reached": 4, "missing": 0}
    assert r"Does &lt;LSMR&gt; need less \*work\*?" in parent.data.tags["mlflow.note.content"]


def test_the_same_command_repeats_nothing(results: Path, tmp_path: Path) -> None:
    study = tiny(tmp_path)
    run_quietly(study, results)
    before, entries = written(results), len(logged(results, study))
    status, screen = run_quietly(study, results)
    assert status == 0
    assert "4 runs, 4 recorded already" in screen
    assert "can reach a verdict" not in " ".join(screen.split()), "too late for more seeds to be planned"
    assert written(results) == before
    assert len(logged(results, study)) == entries == 5


def test_more_seeds_run_only_what_is_missing(results: Path, tmp_path: Path) -> None:
    run_quietly(tiny(tmp_path), results)
    before = written(results)
    status, screen = run_quietly(tiny(tmp_path, "study.seeds=3"), results)
    assert status == 0
    assert "6 runs, 4 recorded already" in screen
    assert before.items() <= written(results).items()
    assert len(list((results / "runs").iterdir())) == 6


def test_what_is_run_is_counted_where_tasks_differ(results: Path, tmp_path: Path) -> None:
    study = tiny(tmp_path, extra="[on.tiny-curves]\nseeds = [1]\n")
    _, screen = run_quietly(study, results)
    assert "2 methods x 1 task: 2 runs, 1 at a time" in screen


def test_failed_and_diverged_runs_are_recorded_and_the_study_goes_on(results: Path, tmp_path: Path) -> None:
    extra = MISBEHAVING % ("boom", "raises") + MISBEHAVING % ("bang", "explodes")
    with registry.temporary("solver", "raises", Raises), registry.temporary("solver", "explodes", Explodes):
        study = tiny(tmp_path, "study.seeds=1", extra=extra)
        status, screen = run_quietly(study, results)
        assert status == 1
        assert "failed: boom/tiny-curves/s0: RuntimeError: planted" in screen
        assert "bang/tiny-curves/s0: diverged after" in screen
        runs = pd.read_parquet(results / "studies" / "tiny" / "runs.parquet").set_index("method")
        assert dict(runs["outcome"]) == {"hf": "reached", "shf": "reached", "boom": "failed", "bang": "diverged"}
        assert f"details in {results / 'runs' / runs['key']['boom'] / 'error.txt'}\n" in screen
        report = (results / "studies" / "tiny" / "report.md").read_text()
        assert "1 of the 4 recorded runs failed. Details: runs/" in report

        before = written(results)
        assert run_quietly(study, results)[0] == 1
        changed = {Path(path).parent.name for path, when in written(results).items() if before.get(path) != when}
        assert changed == {runs["key"]["boom"]}
    statuses = {entry.info.run_name.partition("/")[0]: entry.info.status for entry in logged(results, study)}
    assert statuses == {"tiny": "FAILED", "hf": "FINISHED", "shf": "FINISHED", "boom": "FAILED", "bang": "FINISHED"}
    assert len(logged(results, study)) == 5


def test_ctrl_c_leaves_what_the_same_command_continues(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny(tmp_path, "study.stop_at_target=false")
    steps = interrupt(monkeypatch, 9)  # the second run's third step
    status, screen = run_quietly(study, results, checkpoint_every=0.0)
    assert status == 130
    assert "The same command goes on" in screen
    assert [entry.info.status for entry in logged(results, study) if entry.info.run_name == "tiny"] == ["KILLED"]

    assert run_quietly(study, results, checkpoint_every=0.0)[0] == 0
    assert len(steps) == 4 * 6 + 1
    spec = specs(study)["shf", 0]
    pd.testing.assert_frame_equal(trace_of(spec, results), uninterrupted(spec, tmp_path / "whole"), check_exact=True)


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_larger_budget_goes_on_from_the_runs_of_a_smaller_one(results: Path, tmp_path: Path, jobs: int) -> None:
    small, large = (tiny(tmp_path, "study.stop_at_target=false", f"study.budget.iterations={n}") for n in (3, 6))
    run_quietly(small, results)
    before = written(results)
    status, screen = run_quietly(large, results, jobs)
    assert status == 0
    assert f"4 runs, 4 made with a smaller budget so far, {jobs} at a time" in " ".join(screen.split())
    assert before.items() <= written(results).items(), "the records of the smaller budget stay"
    for name, spec in specs(large).items():
        pd.testing.assert_frame_equal(
            trace_of(spec, results), uninterrupted(spec, tmp_path / "whole"), check_exact=True
        )
        clocks = [pd.read_parquet(RunFolder(results, key).trace_path)["seconds"]
                  for key in (specs(small)[name].key(), spec.key())]  # fmt: skip
        assert list(clocks[0]) == list(clocks[1][:4])


def test_what_mlflow_missed_is_logged_by_the_next_command(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(Tracker, "log_run", lambda *of: 1 / 0)
        status, screen = run_quietly(study, results)
    assert status == 0
    assert "is recorded but not in MLflow yet" in screen
    assert len(logged(results, study)) == 1
    before = written(results)
    run_quietly(study, results)
    assert len(logged(results, study)) == 5
    assert written(results) == before


def test_the_study_file_is_kept_as_it_was_resolved(results: Path, tmp_path: Path) -> None:
    run_quietly(tiny(tmp_path, "study.seeds=1"), results)
    kept = json.loads((results / "studies" / "tiny" / "study.json").read_text())
    assert kept["methods"]["shf"]["scheduler"]["start"] == 0.2
    assert kept["seeds"] == [0]


def test_the_parent_and_its_runs_say_what_was_set(results: Path, tmp_path: Path) -> None:
    study = tiny(tmp_path, "methods.hf.globalization.line_search=false", "study.seeds=1")
    for _ in range(2):
        run_quietly(study, results)
    parent, *children = sorted(logged(results, study), key=lambda entry: "run_key" in entry.data.tags)
    assert len(children) == 2
    assert parent.data.tags["settings/targets"] == "tiny-curves: 60"
    assert parent.data.tags["settings/methods"] == "hf, shf"
    for child in children:
        params = child.data.params
        assert (params["rules"], params["right_hand_side"], params["precision"]) == (
            "relative-progress",
            "auto",
            "float32",
        )
        assert (params["budget.iterations"], params["target"]) == ("6", "60")
        assert params["globalization.line_search"] == str(params["method"] != "hf")


def test_the_same_runs_judged_otherwise_are_another_verdict_of_the_same_parent(results: Path, tmp_path: Path) -> None:
    run_quietly(tiny(tmp_path, "study.seeds=1"), results)
    before = written(results)
    study = tiny(tmp_path, "study.seeds=1", "study.margin=1.3")
    assert run_quietly(study, results)[0] == 0
    assert written(results) == before
    (parent,) = [entry for entry in logged(results, study) if "run_key" not in entry.data.tags]
    assert parent.data.tags["settings/margin"] == "1.3"
    assert len(logged(results, study)) == 1 + 2


def test_where_nothing_reached_the_target_there_is_no_ratio(results: Path, tmp_path: Path) -> None:
    study = tiny(tmp_path, "study.targets.tiny-curves=0.001", "study.budget.iterations=1")
    status, screen = run_quietly(study, results)
    assert status == 0
    words = " ".join(screen.split())
    assert "neither shf nor hf reached the target: inconclusive." in words
    assert "1.00x" not in screen
    assert "n too small" not in screen
    comparison = (read_json(results / "studies" / "tiny" / "comparisons.json") or {})["comparisons"][0]
    assert (comparison["ratio"], comparison["verdict"]) == (None, "inconclusive")
    parent = next(entry for entry in logged(results, study) if "run_key" not in entry.data.tags)
    assert "stat/tiny-curves/shf/ratio" not in parent.data.metrics
    assert parent.data.tags["verdict/tiny-curves/shf-vs-hf"] == "inconclusive"


def test_the_verdict_is_recorded_before_it_is_printed(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny(tmp_path, "study.seeds=1")
    monkeypatch.setattr("hfbench.report.conclusion.table", lambda *of: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_quietly(study, results)
    parent = next(entry for entry in logged(results, study) if "run_key" not in entry.data.tags)
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["verdict/tiny-curves/shf-vs-hf"] == "inconclusive (n too small)"


def test_a_verdict_mlflow_does_not_take_is_printed_all_the_same(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny(tmp_path, "study.seeds=1")
    with monkeypatch.context() as broken:
        broken.setattr(Tracker, "log_study", lambda *of, **more: 1 / 0)
        status, screen = run_quietly(study, results)
    assert status == 0
    assert "shf needed" in screen
    assert "not in MLflow yet; the same command logs it: ZeroDivisionError" in " ".join(screen.split())


# ---------------------------------------------------------------- processes

# Whoever runs the tests in the background has SIGINT ignored, which the command would keep.
COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from rich.console import Console
from hfbench.config.load import load_study
from hfbench.commands.run import run_study
jobs = int(sys.argv[3])
study = load_study(sys.argv[1], sys.argv[4:])
sys.exit(run_study(study, Path(sys.argv[2]), jobs, None, Console(), checkpoint_every=0.0))
"""


def command(study: Study, results: Path, jobs: int) -> list[str]:
    return [sys.executable, "-c", COMMAND, study.source, str(results), str(jobs)]


@pytest.mark.slow
def test_kill_9_then_the_same_command_equals_a_run_in_one_go(results: Path, tmp_path: Path) -> None:
    file = Path(tiny(tmp_path).source)
    file.write_text(
        file.read_text()
        .replace("iterations = 6", "iterations = 14")
        .replace("60.0", "0.001")
        .replace("scheduler =", "max_inner = 5\nscheduler =")
    )
    study = load_study(str(file))
    folders = {spec.key(): RunFolder(results, spec.key()) for spec in runs_of(study)}

    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command(study, results, 2), stdout=quiet, stderr=quiet, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (any(f.is_complete() for f in folders.values()) and _some_checkpoint(folders)):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = {key: written(folder.path.parent.parent) for key, folder in folders.items() if folder.is_complete()}
    assert 1 <= len(finished) < 4
    assert _some_checkpoint(folders)

    assert run_quietly(study, results, checkpoint_every=0.0)[0] == 0
    for key, before in finished.items():
        now = written(results)
        assert {path: when for path, when in before.items() if key in path}.items() <= now.items()
    for spec in runs_of(study):
        expected = uninterrupted(spec, tmp_path / "whole")
        pd.testing.assert_frame_equal(trace_of(spec, results), expected, check_exact=True)


@pytest.mark.slow
def test_a_study_goes_on_when_its_reader_has_left(results: Path, tmp_path: Path) -> None:
    study = tiny(tmp_path)
    process = subprocess.Popen(command(study, results, 1), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("tiny: Does")
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    entries = logged(results, study)
    assert [entry.info.status for entry in entries] == ["FINISHED"] * 5
    parent = next(entry for entry in entries if "run_key" not in entry.data.tags)
    assert parent.data.tags["verdict/tiny-curves/shf-vs-hf"] == "inconclusive (n too small)"


def _some_checkpoint(folders: dict[str, RunFolder]) -> bool:
    return any((folder.path / "checkpoint.pt").exists() for folder in folders.values())


@pytest.mark.slow
def test_ctrl_c_ends_workers_and_study_in_one_sentence(results: Path, tmp_path: Path) -> None:
    """The terminal sends it to all processes at once."""
    study = tiny(tmp_path, "study.seeds=40")
    process = subprocess.Popen(
        [*command(study, results, 2), "study.seeds=40"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    lines = []
    assert process.stdout is not None
    while not lines or not lines[-1].startswith("[ 4/80]"):
        lines.append(process.stdout.readline())
        assert lines[-1], lines
    os.killpg(process.pid, signal.SIGINT)
    rest = process.communicate(timeout=60)[0].splitlines()
    said = [line for line in rest if not line.startswith("[") and line != STOPPING]
    assert (process.returncode, said) == (130, ["Interrupted. The same command goes on where it stopped."])


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_own_run_only(results: Path, tmp_path: Path) -> None:
    with registry.temporary("solver", "dies", Dies):
        study = tiny(tmp_path, "study.seeds=1", extra=MISBEHAVING % ("dead", "dies"))
        study = load_study(study.source, ["study.seeds=1"], only=["dead"])
        assert [part.name for part in added_parts(runs_of(study))] == ["dies"]
        status, screen = run_quietly(study, results, jobs=2)
    assert status == 1
    runs = pd.read_parquet(results / "studies" / "tiny" / "runs.parquet").set_index("method")
    assert dict(runs["outcome"]) == {"hf": "reached", "dead": "failed"}
    assert "killed from outside" in runs["error"]["dead"]
    assert screen.count("dead/tiny-curves/s0: failed") == 1


def test_parts_other_processes_cannot_load_need_one_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Raises, "__module__", "__main__")
    with registry.temporary("solver", "raises", Raises):
        study = tiny(tmp_path, extra=MISBEHAVING % ("boom", "raises"))
        with pytest.raises(ConfigError, match="run with one job"):
            run_quietly(study, tmp_path / "results", jobs=2)
    assert not (tmp_path / "results").exists()
