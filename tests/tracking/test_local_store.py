"""The store of a results folder: made whole or not at all, at home where the folder is, in a folder of any name."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest
from support.misplaced_files import MISPLACED, PRIVATE_FILE, soon
from support.tiny_study import compare_quietly, mlflow_runs, results_folder, run_quietly, tiny, uses_mlflow

from hfbench.errors import StoreError
from hfbench.tracking.local_store import (
    FILE,
    LONGEST,
    NEW,
    _empty_store,
    getting_ready,
    has_store,
    prepare_store,
    take_home,
)
from hfbench.tracking.mlflow_store import Tracker

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store", "undrawn")]

# As MLflow makes a store, ended before its step of that number.
INTERRUPTED = """
import os, sys
from alembic.runtime.migration import HeadMaintainer
from mlflow.tracking import MlflowClient
update, steps = HeadMaintainer.update_to_step, []
def counted(*of):
    steps.append(of)
    if len(steps) == int(sys.argv[2]):
        os._exit(9)
    update(*of)
HeadMaintainer.update_to_step = counted
MlflowClient(tracking_uri=f"sqlite:///{sys.argv[1]}/mlflow.db").search_experiments()
"""


def tables(database: Path) -> set[str]:
    with closing(sqlite3.connect(database)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def test_a_store_that_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*of: object) -> None:
        (tmp_path / NEW).write_bytes(b"half")
        raise sqlite3.OperationalError("database or disk is full")

    _empty_store.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr("mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore", full)
        with pytest.raises(StoreError, match="disk is full.*write it anew") as caught:
            Tracker(tmp_path, "tiny")
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == set()
    assert Tracker(tmp_path, "tiny").parent
    assert files(tmp_path) >= {"mlflow.db"}


def test_what_is_got_ready_is_written_when_it_is_asked_for(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    _empty_store.cache_clear()
    for folder in (one, other):
        folder.mkdir()
        with getting_ready(folder):
            assert files(folder) == set()
        assert files(folder) == set()
        held = _empty_store.cache_info().currsize
        prepare_store(folder)
        with closing(sqlite3.connect(folder / FILE)) as connection:
            found = connection.execute("SELECT artifact_location FROM experiments").fetchall()
        assert found == [((folder / "mlflow-artifacts" / "0").as_uri(),)], "of the folder that it is in"
        assert held == 1
    with getting_ready(tmp_path / "missing" / "\0"):
        pass  # what is wrong with the folder is said by who needs the store


@pytest.mark.parametrize("step", [1, 12])
def test_a_store_that_an_earlier_version_was_interrupted_in_making_is_made_anew(tmp_path: Path, step: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path), str(step)], check=False, capture_output=True
    )
    assert done.returncode == 9, done.stderr
    assert not has_store(tmp_path)
    (tmp_path / "mlflow.db-journal").write_bytes(b"left over")
    tracker = Tracker(tmp_path, "tiny")
    assert [one.name for one in tracker.client.search_experiments()] == ["tiny"]
    assert has_store(tmp_path)
    assert files(tmp_path) <= {"mlflow.db", "mlflow.db-wal", "mlflow.db-shm"}


def test_a_new_store_in_an_awkward_folder(tmp_path: Path) -> None:
    folder = tmp_path / "100%? {new}"
    folder.mkdir()
    prepare_store(folder)
    assert files(folder) == {FILE}
    assert os.listdir(tmp_path) == [folder.name]


def test_an_empty_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    (tmp_path / NEW).write_bytes(b"of a start that was killed")
    assert not has_store(tmp_path)
    prepare_store(tmp_path)
    assert has_store(tmp_path)
    assert files(tmp_path) == {"mlflow.db"}


@pytest.mark.parametrize("made", ["INSERT INTO registered_models (name) VALUES ('mine')", "run"])
def test_a_store_that_holds_anything_is_never_made_anew(tmp_path: Path, made: str) -> None:
    tracker = Tracker(results_folder(tmp_path), "tiny") if made == "run" else None
    prepare_store(tmp_path)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection, connection:
        connection.execute("PRAGMA user_version=0")  # as of an earlier version
        if tracker is None:
            connection.execute(made)
    assert has_store(tmp_path)
    assert tracker is None or Tracker(tmp_path, "tiny").parent == tracker.parent


def test_mlflows_own_experiment_is_hidden_and_no_store_is_written_into_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    prepare_store(tmp_path)
    assert files(tmp_path) == {"mlflow.db"}
    assert list((tmp_path / "work").iterdir()) == []
    assert "runs" in tables(tmp_path / "mlflow.db")
    assert Tracker(tmp_path, "tiny").client.get_experiment("0").lifecycle_stage == "deleted"


KILLED = """
import sys
from pathlib import Path
import mlflow.store.tracking.sqlalchemy_store
from hfbench.tracking.mlflow_store import Tracker
print("ready", flush=True)
Tracker(Path(sys.argv[1]), "tiny")
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_at_any_moment_of_the_first_start_the_next_one_succeeds(tmp_path: Path, number: int) -> None:
    for index in range(10):
        results = tmp_path / f"results-{index}"
        results.mkdir()
        begun = subprocess.Popen([sys.executable, "-c", KILLED, str(results)], stdout=subprocess.PIPE, text=True)
        assert begun.stdout is not None
        assert begun.stdout.readline() == "ready\n"
        time.sleep(0.15 * index)
        begun.send_signal(number)
        begun.communicate()
        tracker = Tracker(results, "tiny")
        assert [run.info.run_id for run in mlflow_runs(results)] == [tracker.parent]
        assert not (results / NEW).exists()


# ---------------------------------------------------------------- moved


def artifacts(results: Path) -> dict[str, int]:
    """When the files below a folder's artifacts were written; none if the folder is gone."""
    return {str(path): path.stat().st_mtime_ns for path in (results / "mlflow-artifacts").rglob("*.*")}


@pytest.mark.parametrize("how", [shutil.move, shutil.copytree])
def test_a_folder_that_was_moved_or_copied_has_its_artifacts_with_it(
    tmp_path: Path, how: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = results_folder(tmp_path / "old%20name"), tmp_path / "new name?"
    run_quietly(tiny(tmp_path, "study.seeds=1"), old)
    with closing(sqlite3.connect(old / "mlflow.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    how(old, new)  # type: ignore[operator]
    before = artifacts(old)
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._artifact_repos_cache", OrderedDict())  # of a process
    status, screen = run_quietly(tiny(tmp_path, "study.seeds=2"), new)
    assert (status, "not in MLflow" in screen) == (0, False)
    assert artifacts(old) == before
    found = mlflow_runs(new)
    assert len(found) == 1 + 4
    for run in found:
        file = "report.md" if "run_key" not in run.data.tags else "result.json"
        assert (folder_of(run) / file).is_relative_to(new)
        assert (folder_of(run) / file).exists()


def test_only_what_the_store_had_beside_it_is_taken_home(tmp_path: Path) -> None:
    tracker = Tracker(results_folder(tmp_path / "old"), "tiny")
    own, theirs = tracker.client, "file:///data/theirs"
    experiment = own.create_experiment("theirs", artifact_location=theirs)
    run = own.create_run(experiment).info.run_id
    with closing(sqlite3.connect(tmp_path / "old" / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", ("s3://bucket/x", tracker.parent))
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    take_home(tmp_path / "new")
    moved = Tracker(tmp_path / "new", "tiny").client
    assert moved.get_experiment(experiment).artifact_location == theirs
    assert moved.get_run(run).info.artifact_uri == f"{theirs}/{run}/artifacts"
    assert moved.get_run(tracker.parent).info.artifact_uri == "s3://bucket/x"
    assert moved.get_experiment_by_name("tiny").artifact_location == (tmp_path / "new/mlflow-artifacts/tiny").as_uri()


# ---------------------------------------------------------------- awkward names

AWKWARD = ("with space", "50% done", "feature%2Fmain", "what?", "a#b'c\"d", "~ü{x}", "long-" * 50)


def folder_of(run: Any) -> Path:
    return Path(url2pathname(urlparse(run.info.artifact_uri).path))


@pytest.mark.parametrize("name", AWKWARD)
def test_a_folder_of_any_name_has_its_store_and_artifacts_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("waits for a file that is not there"))
    results = results_folder(tmp_path / name / "results")
    for _ in range(2):
        tracker = Tracker(results, "tiny")
        tracker.client.log_text(tracker.parent, "text", "a.txt")
    (parent,) = mlflow_runs(results)
    assert folder_of(parent).is_relative_to(results)
    assert (folder_of(parent) / "a.txt").read_text() == "text"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_study_in_a_working_folder_of_an_awkward_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work" / "100%? {feature%2Fmain} #'ü\""
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    study = tiny(tmp_path, "study.seeds=1")
    assert run_quietly(study, Path("results"))[0] == 0
    compare_quietly(study, Path("results"))
    found = mlflow_runs(Path("results"))
    assert len(found) == 3
    for run in found:
        file = "report.md" if "run_key" not in run.data.tags else "result.json"
        assert (folder_of(run) / file).is_relative_to(work / "results")
        assert (folder_of(run) / file).exists()
    assert (os.listdir(tmp_path / "work"), os.listdir(work)) == ([work.name], ["results"])


def test_a_path_that_sqlite_cannot_open_is_refused_in_a_sentence(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["ü" * 100] * 2)
    length = len(os.fsencode(folder))
    longest = folder / ("x" * (LONGEST - length - 1))
    assert Tracker(results_folder(longest), "tiny").parent
    (longest / "mlflow.db").unlink()
    prepare_store(longest)
    with pytest.raises(StoreError, match="must have at most 480 bytes.*--results"):
        Tracker(results_folder(Path(f"{longest}x")), "tiny")


@pytest.mark.parametrize("use", [prepare_store, has_store, take_home])
@pytest.mark.parametrize("name", ["mlflow.db", "mlflow.db-wal"])
@pytest.mark.parametrize("kind", ["pipe", "device", "link out"])
def test_only_a_regular_file_of_the_results_is_opened(
    results: Path, use: Callable[[Path], object], name: str, kind: str
) -> None:
    (results / name).unlink(missing_ok=True)
    MISPLACED[kind](results / name)
    with pytest.raises(StoreError, match=f"{name} must be a database.*Move it away"):
        soon(lambda: use(results))
    private = results.parent / PRIVATE_FILE
    assert not private.exists() or private.read_bytes() == b"private contents"
