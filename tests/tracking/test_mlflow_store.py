from __future__ import annotations

import math
import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from support.misplaced_files import MISPLACED, PRIVATE, PRIVATE_FILE, soon
from support.tiny_study import mlflow_runs, results_folder, uses_mlflow

from hfbench.errors import ConfigError, StoreError
from hfbench.records.run_folder import RunFolder
from hfbench.tracking.local_store import local_uri
from hfbench.tracking.mlflow_store import IN_STUDY, JUDGEMENTS, LEFT_OUT, OPEN, Tracker
from hfbench.tracking.study_view import study_views

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store")]


KEY = "0123456789abcdef"


def finished(results: Path, rows: int = 5, key: str = KEY, **more: Any) -> RunFolder:
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


def failed(results: Path, key: str = "fedcba9876543210") -> RunFolder:
    folder = RunFolder(results, key)
    folder.fail({"task": "usps", "method": "hf", "seed": 3, "outcome": "failed", "error": "boom"}, "details")
    return folder


PARAMS = {"method": "shf-lsmr", "solver": "lsmr", "preconditioner": "martens", "task": "usps", "seed": "3"}


def test_a_run_is_browsable_under_its_names(results: Path) -> None:
    tracker = Tracker(results, "tiny")
    run_id = tracker.log_run(finished(results), PARAMS)
    run = tracker.client.get_run(run_id)

    assert run.info.run_name == "shf-lsmr/usps/s3"
    assert run.info.status == "FINISHED"
    assert run.data.params == PARAMS
    assert (PARAMS | {"outcome": "reached"}).items() <= run.data.tags.items()
    assert "optimizer" not in run.data.tags
    assert run.data.tags["run_key"] == KEY
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
    tracker = Tracker(results, "tiny")
    run_id = tracker.log_run(finished(results), PARAMS)
    assert [point.step for point in tracker.client.get_metric_history(run_id, "opt/rho")] == [0, 2, 3, 4]


def test_curves_are_thinned_and_keep_their_ends(results: Path) -> None:
    tracker = Tracker(results, "tiny")
    run_id = tracker.log_run(finished(results, rows=1201), PARAMS)
    steps = [point.step for point in tracker.client.get_metric_history(run_id, "test/error")]
    assert len(steps) == 50
    assert (steps[0], steps[-1]) == (0, 1200)
    assert max(b - a for a, b in zip(steps, steps[1:], strict=False)) <= 25


def test_more_than_a_call_holds_is_logged_whole(results: Path) -> None:
    tracker = Tracker(results, "tiny")
    many = {f"verdict/task-{i}/a-vs-b": f"verdict {i}" for i in range(1100)}
    metrics = {f"stat/task-{i}/a/ratio": float(i) for i in range(1100)}
    tracker.log_study("note", metrics, many)
    parent = tracker.client.get_run(tracker.parent).data
    assert many.items() <= parent.tags.items()
    assert parent.tags["mlflow.note.content"] == "note"
    assert parent.metrics == metrics
    params = PARAMS | {f"p{i}": str(i) for i in range(1100)}
    run_id = tracker.log_run(finished(results, rows=40), params)
    assert tracker.client.get_run(run_id).data.params == params
    assert len(tracker.client.get_metric_history(run_id, "test/error")) == 40


def test_a_second_invocation_adds_nothing_and_replaces_what_did_not_finish(results: Path) -> None:
    good, bad = finished(results), failed(results)
    first = Tracker(results, "tiny")
    kept, replaced = first.log_run(good, PARAMS), first.log_run(bad, PARAMS)
    first.log_study("note", {"stat/usps/hf/ratio": 0.9}, {"verdict/usps/hf-vs-x": "better"})
    assert first.client.get_run(replaced).info.status == "FAILED"
    assert first.client.get_run(replaced).data.tags["error"] == "boom"

    again = Tracker(results, "tiny")
    assert again.parent == first.parent
    assert again.log_run(good, PARAMS) == kept
    assert again.log_run(bad, PARAMS) == replaced, "nothing has changed"
    bad = finished(results, key="fedcba9876543210")
    assert again.log_run(bad, PARAMS) != replaced
    again.log_study("new note", {"stat/usps/hf/ratio": 0.9}, {"verdict/usps/hf-vs-x": "better"})

    assert len(again.logged()) == 2
    assert {child.info.status for child in again.logged().values()} == {"FINISHED"}
    assert len(again.client.get_metric_history(again.parent, "stat/usps/hf/ratio")) == 1
    parent = again.client.get_run(again.parent)
    assert parent.data.tags["mlflow.note.content"] == "new note"
    assert parent.data.tags["verdict/usps/hf-vs-x"] == "better"
    assert parent.data.tags[JUDGEMENTS] == "1"
    assert len(mlflow_runs(results)) == 3


def test_a_record_that_was_made_again_replaces_its_run(results: Path) -> None:
    tracker = Tracker(results, "tiny")
    before = tracker.log_run(finished(results), PARAMS)
    after = Tracker(results, "tiny").log_run(finished(results, work_to_target=2.75), PARAMS)
    assert before != after
    (child,) = tracker.logged().values()
    assert (child.info.run_id, child.data.metrics["summary/work_to_target"]) == (after, 2.75)


def test_a_run_that_is_there_gets_the_params_that_later_runs_have(results: Path) -> None:
    tracker = Tracker(results, "tiny")
    run_id = tracker.log_run(finished(results), PARAMS)
    assert Tracker(results, "tiny").log_run(finished(results), PARAMS | {"rules": "work"}) == run_id
    assert tracker.client.get_run(run_id).data.params == PARAMS | {"rules": "work"}


# ---------------------------------------------------------------- judgements


def test_a_later_judgement_takes_the_place_of_the_earlier_one(results: Path) -> None:
    tracker = Tracker(results, "tiny", {"margin": "1.1", "looks": "[5]"})
    (child_id,) = [tracker.log_run(finished(results), PARAMS)]
    tracker.log_study("first", {"stat/a": 0.9, "stat/b": 0.8}, {"verdict/a": "better", "claim/b": "holds"})
    tracker.judge({KEY: ("better", {"stat/ratio": 0.9, "stat/p": 0.01})})

    later = Tracker(results, "tiny", {"margin": "1.3"})
    later.log_study("second", {"stat/a": 0.95}, {"verdict/a": "equivalent"})
    later.judge({KEY: ("equivalent", {"stat/ratio": 0.95})})
    parent = later.client.get_run(later.parent).data
    own = {name: value for name, value in parent.tags.items() if "/" in name}
    assert own == {"verdict/a": "equivalent", "settings/margin": "1.3"}
    assert parent.tags[JUDGEMENTS] == "2"
    assert parent.metrics["stat/a"] == 0.95
    assert math.isnan(parent.metrics["stat/b"])
    points = later.client.get_metric_history(later.parent, "stat/a")
    assert [(point.step, point.value) for point in points] == [(1, 0.9), (2, 0.95)]
    found = later.client.get_run(child_id).data
    assert (found.tags["verdict"], found.metrics["stat/ratio"]) == ("equivalent", 0.95)
    assert math.isnan(found.metrics["stat/p"])
    assert later.parent == tracker.parent


def test_runs_that_the_study_does_not_ask_for_leave_its_views(results: Path) -> None:
    tracker = Tracker(results, "tiny")
    for key in ("0" * 16, "1" * 16):
        tracker.log_run(finished(results, key=key), PARAMS)
    tracker.judge(dict.fromkeys(tracker.logged(), ("better", {"stat/ratio": 0.9})))
    Tracker(results, "tiny").select(["1" * 16], ["0" * 16, "1" * 16])
    there = {key: child.data for key, child in tracker.logged().items()}
    assert {key: data.tags[IN_STUDY] for key, data in there.items()} == {"0" * 16: "no", "1" * 16: "yes"}
    assert {key: data.tags["verdict"] for key, data in there.items()} == {"0" * 16: LEFT_OUT, "1" * 16: "better"}
    assert math.isnan(there["0" * 16].metrics["stat/ratio"])
    shown = study_views(tracker.parent, ["usps"], "work_to_target")[0].filter
    found = tracker.client.search_runs([tracker.experiment], shown)
    assert [run.data.tags["run_key"] for run in found] == ["1" * 16]
    Tracker(results, "tiny").select(there, there)
    assert {child.data.tags[IN_STUDY] for child in tracker.logged().values()} == {"yes"}
    assert tracker.logged()["0" * 16].data.tags["verdict"] == OPEN


def test_two_that_judge_at_the_same_moment_never_leave_out_all_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", local_uri(results_folder(tmp_path / "shared")))
    first, second = (Tracker(tmp_path / name, "tiny") for name in ("first", "second"))
    for tracker, key in ((first, "0" * 16), (second, "1" * 16)):
        tracker.log_run(finished(tracker.results, key=key), PARAMS)
        tracker.judge({key: ("better", {})})
    mark, judged = first._mark, list[str]()

    def meanwhile(child: Any, *of: Any) -> None:
        if not judged:
            judged.append("by the second")
            second.judge({"1" * 16: ("worse", {})})
        mark(child, *of)

    monkeypatch.setattr(first, "_mark", meanwhile)
    first.judge({"0" * 16: ("better", {})})
    assert first.logged()["0" * 16].data.tags[IN_STUDY] == "yes"


def test_runs_whose_records_are_gone_are_deleted_in_the_own_store_alone(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        tracker = Tracker(results, "tiny")
        tracker.log_run(finished(results), PARAMS)
        tracker.refresh()
        tracker.select([], ["fedcba9876543210"])
        assert len(tracker.logged()) == int(not tracker.own)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", local_uri(results_folder(tmp_path / "elsewhere")))


def test_what_a_killed_process_left_under_way_is_ended(results: Path) -> None:
    tracker = Tracker(results, "tiny")
    tracker.log_row(KEY, PARAMS, {"iteration": 1, "seconds": 0.1, "test_error": 9.0})
    again = Tracker(results, "tiny")
    again.select([KEY])
    (child,) = again.logged().values()
    assert child.info.status == "KILLED"


def test_a_trial_is_logged_once_and_anew_where_it_was_interrupted(results: Path) -> None:
    tracker = Tracker(results, "tiny", by="hfbench sweep")
    tracker.log_trial("a-0", "shf/usps/trial-0", {"trial": "0"}, {"summary/ratio": 1.0}, {})
    unfinished = tracker._new_child("a-1", "shf/usps/trial-1", {}, None)
    later = Tracker(results, "tiny", by="hfbench sweep")
    for key in ("a-0", "a-1"):
        later.log_trial(key, f"shf/usps/trial-{key[-1]}", {"trial": key[-1]}, {"summary/ratio": 0.9}, {})
    found = later.logged()
    assert {key: child.data.metrics["summary/ratio"] for key, child in found.items()} == {"a-0": 1.0, "a-1": 0.9}
    assert found["a-1"].info.run_id != unfinished
    assert Tracker(results, "tiny").parent != later.parent, "runs of the study itself are no trials"


# ---------------------------------------------------------------- runs under way


def test_rows_of_a_run_under_way_are_the_beginning_of_its_record(results: Path) -> None:
    tracker, began = Tracker(results, "tiny"), int(1000 * time.time())
    rows = [{"iteration": i, "seconds": 0.1 * i, "test_error": 9.0 - i / 5, "rho": None} for i in (1, 1, 3)]
    new = []
    for row in rows:
        new.append(tracker.log_row(KEY, PARAMS, row))
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
    first = Tracker(results, "tiny")
    first.begin()
    assert first.client.get_run(first.parent).info.status == "RUNNING"
    first.log_row(KEY, PARAMS, row)
    left = first.logged()[KEY]
    first.abandon()
    assert first.client.get_run(left.info.run_id).info.status == "KILLED"
    assert first.live == {}

    again = Tracker(results, "tiny")
    assert again.log_row(KEY, PARAMS, row)
    (child,) = again.logged().values()
    assert (child.info.run_id == left.info.run_id, child.info.status) == (False, "RUNNING")
    again.log_run(finished(results), PARAMS)
    (child,) = again.logged().values()
    assert child.info.status == "FINISHED"
    assert not Tracker(results, "tiny").log_row(KEY, PARAMS, row)


def test_a_study_is_under_way_from_its_beginning_to_its_end_alone(results: Path) -> None:
    def status(tracker: Tracker) -> str:
        return str(tracker.client.get_run(tracker.parent).info.status)

    first = Tracker(results, "tiny")
    assert status(first) == "SCHEDULED"
    first.begin()
    assert status(first) == "RUNNING"
    again = Tracker(results, "tiny")  # by a command that is given after a kill
    assert status(again) == "KILLED"
    again.log_study("note", {}, {})
    assert status(Tracker(results, "tiny")) == "FINISHED"


def test_a_live_run_that_fails_says_so(results: Path) -> None:
    tracker, folder = Tracker(results, "tiny"), RunFolder(results, KEY)
    tracker.log_row(folder.key, PARAMS, {"iteration": 1, "seconds": 0.1, "test_error": 9.0})
    folder.fail({"task": "usps", "method": "shf-lsmr", "seed": 3, "outcome": "failed", "error": "boom"}, "details")
    run = tracker.client.get_run(tracker.log_run(folder, PARAMS))
    assert (run.info.status, run.data.tags["outcome"], run.data.tags["error"]) == ("FAILED", "failed", "boom")
    assert len(tracker.logged()) == 1


def test_files_are_attached_to_the_study(results: Path, tmp_path: Path) -> None:
    file = tmp_path / "verdicts.md"
    file.write_text("# verdict")
    tracker = Tracker(results, "tiny")
    tracker.log_study("note", {}, {}, [file])
    assert [one.path for one in tracker.client.list_artifacts(tracker.parent)] == ["verdicts.md"]
    assert tracker.client.get_run(tracker.parent).info.status == "FINISHED"


def test_the_store_writes_ahead_and_telemetry_is_off(results: Path) -> None:
    Tracker(results, "tiny")
    with sqlite3.connect(results / "mlflow.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_the_tracking_uri_of_the_environment_is_honoured(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = results_folder(tmp_path / "elsewhere")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere / 'mlflow.db'}")
    tracker = Tracker(results, "tiny")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert Tracker(results, "tiny").parent != tracker.parent
    assert Tracker(elsewhere, "tiny").parent == tracker.parent


def test_a_store_that_cannot_be_opened_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, it is a text of some length" * 100)
    with pytest.raises(StoreError, match="sqlite database"):
        Tracker(tmp_path, "tiny")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://x")
    with pytest.raises(StoreError, match="must be usable"):
        Tracker(tmp_path, "tiny")


def test_a_study_name_never_becomes_a_path_unchecked(results: Path) -> None:
    with pytest.raises(ConfigError):
        Tracker(results, "../tiny")


def test_the_parent_says_what_is_fixed_beforehand(results: Path) -> None:
    settings = {"question": "Is it?", "margin": "1.1", "seeds": "0, 1"}
    first = Tracker(results, "tiny", settings)
    tags = first.client.get_run(first.parent).data.tags
    wanted = {"question": "Is it?", "settings/margin": "1.1", "settings/seeds": "0, 1"}
    assert wanted.items() <= tags.items()
    assert "settings/question" not in tags, "once is enough"

    first.log_study("note", {}, {})
    again = Tracker(results, "tiny", settings | {"seeds": "0-7"})
    assert again.parent == first.parent
    assert again.client.get_run(again.parent).data.tags["settings/seeds"] == "0-7"
    assert again.client.get_run(again.parent).info.status == "FINISHED"


def test_a_tag_that_another_process_has_just_deleted(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Tracker(results, "tiny", {"margin": "1.1"})
    delete_tag = tracker.client.delete_tag

    def twice(*of: str) -> None:
        delete_tag(*of)
        delete_tag(*of)

    monkeypatch.setattr(tracker.client, "delete_tag", twice)
    tracker.log_study("note", {}, {"verdict/a": "better"})
    tracker.log_study("note", {}, {})
    assert "verdict/a" not in tracker.client.get_run(tracker.parent).data.tags
    monkeypatch.setattr(tracker.client, "delete_tag", lambda *of: delete_tag(tracker.parent, "none"))
    tracker.log_study("note", {}, {"verdict/a": "better"})
    with pytest.raises(MlflowException):
        tracker.log_study("note", {}, {})


@pytest.mark.parametrize("kind", sorted(MISPLACED))
def test_no_file_from_elsewhere_becomes_an_artifact(results: Path, kind: str) -> None:
    tracker, folder = Tracker(results, "tiny"), failed(results)
    (folder.path / "error.txt").unlink()
    MISPLACED[kind](folder.path / "error.txt")
    with pytest.raises(StoreError, match="error.txt must be a readable file, but: it "):
        soon(lambda: tracker.log_run(folder, PARAMS))
    (results / "report.md").unlink(missing_ok=True)
    MISPLACED[kind](results / "report.md")
    with pytest.raises(StoreError, match="report.md must be a readable file, but: it "):
        soon(lambda: tracker.log_study("note", {}, {}, [results / "report.md"]))
    assert not any(PRIVATE in file.read_bytes() for file in (results / "mlflow-artifacts").rglob("*") if file.is_file())


def test_no_artifact_is_written_outside_the_results(results: Path, tmp_path: Path) -> None:
    tracker = Tracker(results, "tiny")
    file = tmp_path / PRIVATE_FILE
    there = results / "mlflow-artifacts" / "tiny" / tracker.parent / "artifacts"
    there.mkdir(parents=True)
    MISPLACED["link out"](there / "report.md")
    (results / "report.md").write_text("report")
    with pytest.raises(MlflowException, match="outside the artifact directory"):
        tracker.log_study("note", {}, {}, [results / "report.md"])
    assert file.read_bytes() == PRIVATE
    shutil.rmtree(there)
    there.symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(StoreError, match="must have its artifacts in that folder, but has them at"):
        tracker.log_study("note", {}, {}, [results / "report.md"])
    assert not (tmp_path / "report.md").exists()


@pytest.mark.parametrize("address", ["file:///tmp/elsewhere", "s3://bucket/elsewhere", "/tmp/there", "{results}/../x"])
def test_a_store_that_has_artifacts_elsewhere_is_refused(results: Path, address: str) -> None:
    Tracker(results, "tiny")
    with sqlite3.connect(results / "mlflow.db") as connection:
        connection.execute("UPDATE experiments SET artifact_location = ?", (address.format(results=results),))
    connection.close()
    with pytest.raises(StoreError, match="must have its artifacts in that folder, but has them at .*Move mlflow.db"):
        Tracker(results, "tiny")
