"""Recorded runs of other versions: which settings are the same."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.made_records import records
from support.misplaced_files import MISPLACED, soon
from support.tiny_study import compare_quietly, tiny, uses_mlflow

from hfbench.commands.export import export_study
from hfbench.config.study_runs import runs_of
from hfbench.errors import StoreError
from hfbench.records.recorded_study import gather, same_settings, to_be_made_again

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store")]


def test_settings_that_came_later_had_their_defaults_before() -> None:
    now: dict[str, Any] = {
        "seed": 1,
        "method": {"solver": "cg", "max_bytes": None, "precision": "parameters"},
        "follows": "a",
    }
    then = {"seed": 1, "method": {"solver": "cg"}, "follows": "b"}
    assert same_settings(then, now)
    assert not same_settings(then, now | {"method": now["method"] | {"precision": "bfloat16"}})
    assert not same_settings(then, now | {"seed": 2})
    assert not same_settings(None, now)


def test_what_an_earlier_attempt_left_is_not_the_trace_of_a_failed_run(tmp_path: Path) -> None:
    study = tiny(tmp_path)
    failed = list(records(study, tmp_path / "results").values())[0]
    result = {**(failed.result() or {}), "outcome": "failed", "cause": "method", "error": "boom"}
    failed.fail(result, "details")
    failed.trace_path.write_bytes(b"half a trace")
    recorded = gather(study, {spec.key(): spec for spec in runs_of(study)}, tmp_path / "results")
    assert len(recorded.runs) == 4
    assert len(recorded.traces("tiny-curves")) == 3
    console = Console(file=io.StringIO())
    assert export_study(study, tmp_path / "results", None, console, tmp_path / "all.parquet") == 0


def test_runs_that_are_elsewhere_cost_one_sentence(tmp_path: Path) -> None:
    study, results = tiny(tmp_path), tmp_path / "results"
    records(study, tmp_path / "disk")
    results.mkdir()
    (results / "runs").symlink_to(tmp_path / "disk" / "runs", target_is_directory=True)
    planned = {spec.key(): spec for spec in runs_of(study)}
    for read in (lambda: compare_quietly(study, results), lambda: to_be_made_again(planned, results)):
        with pytest.raises(StoreError, match="results/runs must lie in the results folder, but is a link out of it"):
            read()


def test_records_of_others_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    study, results = tiny(tmp_path), tmp_path / "results"
    records(study, results)
    for name, kind in enumerate(sorted(MISPLACED)):
        (results / "runs" / f"other{name}").mkdir()
        MISPLACED[kind](results / "runs" / f"other{name}" / "result.json")
    recorded = soon(lambda: gather(study, {spec.key(): spec for spec in runs_of(study)}, results))
    assert len(recorded.ended) == 4
    assert recorded.others.sentences() == []
