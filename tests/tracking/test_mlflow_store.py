from __future__ import annotations

import math
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from support.tiny_study import results_folder, uses_mlflow

from hfbench.errors import ConfigError, StoreError
from hfbench.records.run_folder import RunFolder
from hfbench.tracking import mlflow_store
from hfbench.tracking.mlflow_store import Tracker, local_uri

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store")]


def finished(results: Path, rows: int = 5, key: str = "0123456789abcdef", **more: Any) -> RunFolder:
    """A run folder as a run leaves it; rho is -inf in one row."""
    folder = RunFolder(results, key)
    folder.create({})
    trace = [
        {
            "iteration": i,
            "seconds": 0.1 * i,
            "work": float(i),
            "test_error": 9.0 - i / rows,
            "rho": -math.inf if i == 1 else 0.5,
        }
        for i in range(rows)
    ]
    result = {"key": key, "task": "usps", "method": "shf-lsmr", "seed": 3, "outcome": "reached", "error": None}
    folder.finish(trace, result | {"seconds": 0.4, "iterations": rows - 1, "work_to_target": 2.5} | more)
    return folder


PARAMS = {"method": "shf-lsmr", "solver": "lsmr", "preconditioner": "martens", "task": "usps", "seed": "3"}


def test_a_run_is_browsable_under_its_names(results: Path) -> None:
    tracker = Tracker(results, "tiny", "k1")
    run_id = tracker.log_run(finished(results), PARAMS)
    run = tracker.client.get_run(run_id)

    assert run.info.run_name == "shf-lsmr/usps/s3"
    assert run.info.status == "FINISHED"
    assert run.data.params == PARAMS
    assert (PARAMS | {"outcome": "reached"}).items() <= run.data.tags.items()
    assert "optimizer" not in run.data.tags
    assert run.data.tags["run_key"] == "0123456789abcdef"
    assert run.data.tags["mlflow.parentRunId"] == tracker.parent
    assert run.data.metrics["summary/work_to_target"] == 2.5
    assert run.data.metrics["summary/solved"] == 1.0
    history = tracker.client.get_metric_history(run_id, "test/error")
    assert [(point.step, point.value) for point in history] == [(i, 9.0 - i / 5) for i in range(5)]
    assert history[4].timestamp - history[0].timestamp == pytest.approx(400, abs=2)
    assert run.info.end_time - run.info.start_time == pytest.approx(400, abs=2)
    assert {file.path for file in tracker.client.list_artifacts(run_id)} == {
        "config.json",
        "result.json",
        "trace.parquet",
    }
    assert str(results) in run.info.artifact_uri


def test_numbers_that_are_not_finite_are_left_out(results: Path) -> None:
    tracker = Tracker(results, "tiny", "k1")
    run_id = tracker.log_run(finished(results), PARAMS)
    assert [point.step for point in tracker.client.get_metric_history(run_id, "opt/rho")] == [0, 2, 3, 4]


def test_curves_are_thinned_and_keep_their_ends(results: Path) -> None:
    tracker = Tracker(results, "tiny", "k1")
    run_id = tracker.log_run(finished(results, rows=1201), PARAMS)
    steps = [point.step for point in tracker.client.get_metric_history(run_id, "test/error")]
    assert len(steps) == 50
    assert (steps[0], steps[-1]) == (0, 1200)
    assert max(b - a for a, b in zip(steps, steps[1:], strict=False)) <= 25


def test_calls_hold_at_most_a_thousand_entries(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Tracker(results, "tiny", "k1")
    sizes, log_batch = [], tracker.client.log_batch

    def counting(run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        sizes.append(len(metrics) + len(params) + len(tags))
        log_batch(run_id, metrics=metrics, params=params, tags=tags)

    monkeypatch.setattr(tracker.client, "log_batch", counting)
    monkeypatch.setattr(mlflow_store, "BATCH", 50)
    run_id = tracker.log_run(finished(results, rows=40), PARAMS)
    assert max(sizes) <= 50
    assert len(tracker.client.get_metric_history(run_id, "test/error")) == 40


def test_a_second_invocation_adds_nothing_and_replaces_what_did_not_finish(results: Path) -> None:
    good, bad = finished(results), RunFolder(results, "fedcba9876543210")
    bad.fail({"task": "usps", "method": "hf", "seed": 3, "outcome": "failed", "error": "boom"}, "details")
    first = Tracker(results, "tiny", "k1")
    kept, replaced = first.log_run(good, PARAMS), first.log_run(bad, PARAMS)
    first.log_study("note", {"stat/usps/hf/ratio": 0.9}, {"verdict/usps/hf-vs-x": "better"})
    assert first.client.get_run(replaced).info.status == "FAILED"
    assert first.client.get_run(replaced).data.tags["error"] == "boom"

    again = Tracker(results, "tiny", "k1")
    children = again.logged()
    assert again.parent == first.parent
    assert again.log_run(good, PARAMS, children["0123456789abcdef"]) == kept
    bad = finished(results, key="fedcba9876543210")
    assert again.log_run(bad, PARAMS, children["fedcba9876543210"]) != replaced
    again.log_study("new note", {"stat/usps/hf/ratio": 0.9}, {"verdict/usps/hf-vs-x": "better"})

    assert len(again.logged()) == 2
    assert {child.info.status for child in again.logged().values()} == {"FINISHED"}
    assert len(again.client.get_metric_history(again.parent, "stat/usps/hf/ratio")) == 1
    parent = again.client.get_run(again.parent)
    assert parent.data.tags["mlflow.note.content"] == "new note"
    assert parent.data.tags["verdict/usps/hf-vs-x"] == "better"
    assert len(again.client.search_runs([again.experiment])) == 3


def test_rows_of_a_run_under_way_are_the_beginning_of_its_record(results: Path) -> None:
    tracker, began = Tracker(results, "tiny", "k1"), int(1000 * time.time())
    rows = [{"iteration": i, "seconds": 0.1 * i, "test_error": 9.0 - i / 5, "rho": None} for i in (1, 1, 3)]
    new = []
    for row in rows:
        new.append(tracker.log_row("0123456789abcdef", PARAMS, row))
        time.sleep(0.2)  # the wall is never ahead of the run's clock
    assert new == [True, False, True]
    (live,) = tracker.client.search_runs([tracker.experiment], "tags.run_key != ''")
    assert (live.info.run_name, live.info.status) == ("shf-lsmr/usps/s3", "RUNNING")
    assert live.data.params == PARAMS
    assert (PARAMS | {"mlflow.parentRunId": tracker.parent}).items() <= live.data.tags.items()
    assert "outcome" not in live.data.tags
    assert live.data.metrics["test/error"] == 9.0 - 3 / 5
    assert "opt/rho" not in live.data.metrics

    assert tracker.log_run(finished(results), PARAMS) == live.info.run_id
    run = tracker.client.get_run(live.info.run_id)
    assert (run.info.status, run.data.tags["outcome"]) == ("FINISHED", "reached")
    assert run.data.metrics["summary/work_to_target"] == 2.5
    history = sorted(tracker.client.get_metric_history(live.info.run_id, "test/error"), key=lambda point: point.step)
    assert [(point.step, point.value) for point in history] == [(i, 9.0 - i / 5) for i in range(5)]
    times = [point.timestamp for point in history]
    assert times == sorted(times)
    assert times[4] - times[3] == pytest.approx(100, abs=2)
    assert began <= times[1] <= times[3] <= run.info.end_time
    assert len(tracker.logged()) == 1
    tracker.abandon()
    assert tracker.client.get_run(live.info.run_id).info.status == "FINISHED"


def test_a_child_that_does_not_end_is_killed_and_replaced(results: Path) -> None:
    row = {"iteration": 1, "seconds": 0.1, "test_error": 9.0}
    first = Tracker(results, "tiny", "k1")
    first.begin()
    assert first.client.get_run(first.parent).info.status == "RUNNING"
    first.log_row("0123456789abcdef", PARAMS, row)
    left = first.logged()["0123456789abcdef"]
    first.abandon()
    assert first.client.get_run(left.info.run_id).info.status == "KILLED"
    assert first.live == {}

    again = Tracker(results, "tiny", "k1")
    assert again.log_row("0123456789abcdef", PARAMS, row, left)
    (child,) = again.logged().values()
    assert (child.info.run_id == left.info.run_id, child.info.status) == (False, "RUNNING")
    again.log_run(finished(results), PARAMS, left)
    (child,) = again.logged().values()
    assert child.info.status == "FINISHED"
    assert not Tracker(results, "tiny", "k1").log_row("0123456789abcdef", PARAMS, row, child)


def test_a_live_run_that_fails_says_so(results: Path) -> None:
    tracker, folder = Tracker(results, "tiny", "k1"), RunFolder(results, "0123456789abcdef")
    tracker.log_row(folder.key, PARAMS, {"iteration": 1, "seconds": 0.1, "test_error": 9.0})
    folder.fail({"task": "usps", "method": "shf-lsmr", "seed": 3, "outcome": "failed", "error": "boom"}, "details")
    run = tracker.client.get_run(tracker.log_run(folder, PARAMS))
    assert (run.info.status, run.data.tags["outcome"], run.data.tags["error"]) == ("FAILED", "failed", "boom")
    assert len(tracker.logged()) == 1


def test_another_set_of_runs_has_another_parent(results: Path) -> None:
    first, second = Tracker(results, "tiny", "k1"), Tracker(results, "tiny", "k2")
    assert first.experiment == second.experiment
    assert first.parent != second.parent


def test_files_are_attached_to_the_study(results: Path, tmp_path: Path) -> None:
    file = tmp_path / "verdicts.md"
    file.write_text("# verdict")
    tracker = Tracker(results, "tiny", "k1")
    tracker.log_study("note", {}, {}, [file])
    assert [one.path for one in tracker.client.list_artifacts(tracker.parent)] == ["verdicts.md"]
    assert tracker.client.get_run(tracker.parent).info.status == "FINISHED"


def test_the_store_writes_ahead_and_telemetry_is_off(results: Path) -> None:
    Tracker(results, "tiny", "k1")
    with sqlite3.connect(results / "mlflow.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_the_tracking_uri_of_the_environment_is_honoured(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = results_folder(tmp_path / "elsewhere")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere / 'mlflow.db'}")
    tracker = Tracker(results, "tiny", "k1")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert Tracker(results, "tiny", "k1").parent != tracker.parent
    assert Tracker(elsewhere, "tiny", "k1").parent == tracker.parent


def test_a_store_that_cannot_be_opened_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, it is a text of some length" * 100)
    with pytest.raises(StoreError, match="sqlite database"):
        Tracker(tmp_path, "tiny", "k1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://x")
    with pytest.raises(StoreError, match="must be usable"):
        Tracker(tmp_path, "tiny", "k1")


def test_a_study_name_never_becomes_a_path_unchecked(results: Path) -> None:
    with pytest.raises(ConfigError):
        Tracker(results, "../tiny", "k1")


def test_the_parent_says_what_was_fixed_beforehand_and_keeps_it(results: Path) -> None:
    params = {"question": "Is it?", "margin": "1.1", "seeds": "0, 1"}
    first = Tracker(results, "tiny", "k1", params)
    parent = first.client.get_run(first.parent)
    assert parent.data.params == params
    assert parent.data.tags["question"] == "Is it?"

    first.log_study("note", {}, {})
    again = Tracker(results, "tiny", "k1", params)
    assert again.parent == first.parent
    assert again.client.get_run(again.parent).data.params == params
    assert again.client.get_run(again.parent).info.status == "FINISHED"


def test_params_the_parent_lacks_are_added_and_none_is_changed(results: Path) -> None:
    first = Tracker(results, "tiny", "k1", {"margin": "1.1"})  # as if ended between two writes
    again = Tracker(results, "tiny", "k1", {"margin": "1.2", "seeds": "0, 1"})
    assert again.parent == first.parent
    assert again.client.get_run(again.parent).data.params == {"margin": "1.1", "seeds": "0, 1"}


def test_the_experiment_mlflow_makes_is_hidden(results: Path) -> None:
    tracker = Tracker(results, "tiny", "k1")
    assert [one.name for one in tracker.client.search_experiments()] == ["tiny"]
    assert Tracker(results, "other", "k1").client.get_experiment("0").lifecycle_stage == "deleted"


def test_the_experiment_mlflow_makes_is_kept_where_it_is_used_or_the_store_is_not_ours(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", local_uri(results))
    client = Tracker(results, "first", "k1").client
    assert client.get_experiment("0").lifecycle_stage == "active"
    client.create_run("0")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    Tracker(results, "second", "k1")
    assert client.get_experiment("0").lifecycle_stage == "active"
