"""Commands that are killed or interrupted anywhere: nothing lost, nothing repeated, no process left, one sentence."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import pytest
from support import tiny_sweep
from support.ended import WAYS, ended, finished, in_mlflow
from support.tiny_study import results_folder, run_quietly, tiny, trace_of, uninterrupted, uses_mlflow

from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of

pytestmark = [uses_mlflow, pytest.mark.slow, pytest.mark.usefixtures("own_store")]

ENDS = 2  # of each command
SEED = 7
OTHERS = sorted({*WAYS} - {"Ctrl-C"})  # test_run.py has a study that is killed


def moments(last: float) -> list[float]:
    """Spread at random over a command that takes so many seconds, a quarter of one left to the start of Python."""
    draws = random.Random(SEED)
    return [draws.uniform(0.25, last) for _ in range(ENDS)]


def end_again_and_again(arguments: Sequence[str], results: Path, ends: Iterable[tuple[str, float]]) -> None:
    """Gives the command, ends it in that way after so many seconds, and gives it again; at last it may end by itself.

    A run that is recorded is never written again.
    """
    before: dict[str, int] = {}
    for way, seconds in [*ends, ("kill", 600.0)]:
        end = ended(arguments, way, seconds)
        assert end.faults() == [], (way, seconds, end.said)
        now = finished(results)
        assert before.items() <= now.items(), (way, seconds)
        before = now
    assert end.status == 0, end.said


def check_runs(study: Study, results: Path, reference: Path) -> None:
    """All runs of the study are recorded as if each had been made in one go, and once in MLflow, where none is left."""
    specs = runs_of(study)
    assert set(finished(results)) == {spec.key() for spec in specs}
    for spec in specs:
        pd.testing.assert_frame_equal(trace_of(spec, results), uninterrupted(spec, reference), check_exact=True)
    check_mlflow(results, study.name, {spec.name for spec in specs})


def check_mlflow(results: Path, study: str, runs: set[str]) -> None:
    names, statuses = in_mlflow(results, study)
    assert {name: n for name, n in names.items() if name in runs} == dict.fromkeys(runs, 1)
    assert set(statuses) == {"FINISHED"}


@pytest.mark.parametrize("way", ["Ctrl-C", *(pytest.param(way, marks=pytest.mark.long) for way in OTHERS)])
def test_a_study_goes_on_where_it_was_ended(way: str, tmp_path: Path) -> None:
    study, results = tiny(tmp_path, "study.seeds=12"), tmp_path / "results"
    arguments = ["run", study.source, "--jobs", "2", "--results", str(results)]
    end_again_and_again(arguments, results, [(way, seconds) for seconds in moments(12.0)])
    check_runs(study, results, tmp_path / "whole")


@pytest.mark.long
def test_a_sweep_goes_on_where_it_was_ended(tmp_path: Path) -> None:
    file, results, whole = tiny_sweep.study_file(tmp_path), tmp_path / "results", tmp_path / "whole"
    arguments = ["sweep", str(file), "--jobs", "2", "--results"]
    end_again_and_again([*arguments, str(results)], results, [("Ctrl-C", seconds) for seconds in moments(20.0)])
    assert ended([*arguments, str(whole)], "kill", 600.0).status == 0
    assert tiny_sweep.runs(results) == tiny_sweep.runs(whole)
    pd.testing.assert_frame_equal(tiny_sweep.trials(results), tiny_sweep.trials(whole))
    names, statuses = in_mlflow(results, "tiny")
    assert set(statuses) == {"FINISHED"}
    assert names == in_mlflow(whole, "tiny")[0]


@pytest.mark.parametrize("way", ["kill -9", pytest.param("Ctrl-C", marks=pytest.mark.long)])
@pytest.mark.parametrize("command", ["compare", pytest.param("import", marks=pytest.mark.long)])
def test_records_are_judged_and_brought_together_whatever_ends_it(command: str, way: str, tmp_path: Path) -> None:
    study, made = tiny(tmp_path, "study.seeds=6"), results_folder(tmp_path / "made")
    assert run_quietly(study, made)[0] == 0
    results, whole = tmp_path / "results", tmp_path / "again"
    sources = [str(made)] if command == "import" else []
    for folder in (results, whole):
        shutil.copytree(made / "runs", folder / "runs") if command == "compare" else folder.mkdir()
    arguments = [command, study.source, *sources, "--results"]
    end_again_and_again([*arguments, str(results)], results, [(way, seconds) for seconds in moments(8.0)])
    assert ended([*arguments, str(whole)], "kill", 600.0).status == 0
    check_runs(study, results, tmp_path / "whole")
    reports = [(folder / "studies" / "tiny" / "report.md").read_bytes() for folder in (results, whole)]
    assert reports[0] == reports[1]
