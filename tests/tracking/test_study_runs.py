"""The runs of a study in MLflow: one parent and every run once, whatever was made before or at the same moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.tiny_study import mlflow_runs, results_folder, uses_mlflow

from hfbench.tracking import study_runs
from hfbench.tracking.local_store import local_uri
from hfbench.tracking.mlflow_store import Tracker
from hfbench.tracking.study_runs import PARENT

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store")]

BY = {"study": "tiny", "mlflow.source.name": "hfbench run"}


def of_an_earlier_version(results: Path) -> tuple[Any, dict[str, str]]:
    """Three judgements, each a parent with all its runs below it; the finished runs of the first, by key."""
    looking = Tracker(results, "tiny")
    client, experiment = looking.client, looking.experiment
    client.delete_run(looking.parent)
    first = dict[str, str]()
    for when, seeds in enumerate((1, 2, 1), 1):
        parent = client.create_run(experiment, start_time=when, tags=BY | {"study_key": f"k{when}"}).info.run_id
        client.log_param(parent, "seeds", str(seeds))
        for seed in range(seeds):
            tags = BY | {"run_key": f"key-{seed}", "mlflow.parentRunId": parent}
            run = client.create_run(experiment, start_time=10 * when + seed, tags=tags).info.run_id
            if (when, seed) != (1, 0):  # the first was killed
                client.set_terminated(run, "FINISHED")
                first.setdefault(f"key-{seed}", run)
    return client, first


def test_a_store_of_an_earlier_version_is_taken_over_without_duplicates(results: Path) -> None:
    client, first = of_an_earlier_version(results)
    tracker = Tracker(results, "tiny", {"seeds": "0, 1"})
    found = mlflow_runs(results)
    children = {run.data.tags["run_key"]: run for run in found if "run_key" in run.data.tags}
    assert len(found) == 3
    assert {key: run.info.run_id for key, run in children.items()} == first
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {tracker.parent}
    parent = client.get_run(tracker.parent).data
    assert (parent.params, parent.tags["settings/seeds"]) == ({}, "0, 1")
    assert Tracker(results, "tiny").parent == tracker.parent
    assert len(mlflow_runs(results)) == 3


def test_what_two_processes_made_at_the_same_moment_becomes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", local_uri(results_folder(tmp_path / "shared")))
    monkeypatch.setattr(study_runs, "SETTLE", 0.05)
    first = Tracker(tmp_path / "one", "tiny")
    other = first.client.create_run(first.experiment, tags=BY | {PARENT: "hfbench run"}).info.run_id
    running = [
        first.client.create_run(
            first.experiment, start_time=when, tags=BY | {"run_key": "key", "mlflow.parentRunId": parent}
        ).info.run_id
        for when, parent in ((1, other), (2, first.parent))
    ]
    again = Tracker(tmp_path / "two", "tiny")
    assert again.parent == first.parent
    assert again.client.get_run(other).info.lifecycle_stage == "deleted"
    assert {again.client.get_run(run).info.lifecycle_stage for run in running} == {"active"}, "another may write to it"
    for run in running:
        again.client.set_terminated(run, "FINISHED")
    (child,) = again.logged().values()
    assert child.info.run_id == running[0]
    assert again.client.get_run(running[0]).data.tags["mlflow.parentRunId"] == first.parent


def test_a_parent_that_was_just_made_is_looked_at_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process has made its own, earlier, which the server did not show at the first look."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", local_uri(results_folder(tmp_path / "shared")))
    looking = Tracker(tmp_path / "one", "other")
    slept = list[float]()

    def made_meanwhile(seconds: float) -> None:
        slept.append(seconds)
        experiment = looking.client.get_experiment_by_name("tiny").experiment_id
        looking.client.create_run(experiment, start_time=1, tags=BY | {PARENT: "hfbench run"})

    monkeypatch.setattr("time.sleep", made_meanwhile)
    tracker = Tracker(tmp_path / "one", "tiny")
    assert slept == [study_runs.SETTLE]
    assert tracker.client.get_run(tracker.parent).info.start_time == 1
