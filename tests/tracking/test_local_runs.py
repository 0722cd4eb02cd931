"""Runs of the own store, many at a time: the rows that MLflow's client writes, in few statements."""

from __future__ import annotations

import io
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from rich.console import Console
from sqlalchemy import event
from sqlalchemy.engine import Engine
from support.made_records import records
from support.tiny_study import compare_quietly, results_folder, tiny, uses_mlflow

from hfbench.config.study_runs import runs_of
from hfbench.records.results_folder import ResultsFolder
from hfbench.tracking import local_runs, run_metrics
from hfbench.tracking.local_store import ARTIFACTS
from hfbench.tracking.mlflow_store import Tracker
from hfbench.tracking.run_logger import RunLogger
from hfbench.tracking.study_tracker import tracker_of

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store", "undrawn")]

TABLES = ("runs", "params", "tags", "metrics", "latest_metrics")


def logger(folder: Path, results: Path, console: Console | None = None) -> tuple[Tracker, RunLogger, list[str]]:
    """The tracker and the logger of a study's runs, and their keys."""
    study = tiny(folder)
    specs = {spec.key(): spec for spec in runs_of(study)}
    tracker = tracker_of(study, specs, results)
    setting = ResultsFolder(results, study.name)
    return tracker, RunLogger(tracker, specs, setting, console or Console(quiet=True)), list(specs)


def tables(results: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all runs but the parent: each run by its name in place of its id, and from this folder."""
    with closing(sqlite3.connect(results / "mlflow.db")) as connection:
        named = dict(connection.execute("SELECT run_uuid, name FROM runs").fetchall())
        named |= {run: "parent" for run, name in named.items() if name == "tiny"} | {str(results): "results"}

        def shown(entry: Any) -> Any:
            for run, name in named.items():
                entry = entry.replace(run, name) if isinstance(entry, str) else entry
            return entry

        rows = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}
    shown_rows = {table: [tuple(map(shown, row)) for row in rows[table]] for table in TABLES}
    return {table: sorted((row for row in shown_rows[table] if row[0] != "parent"), key=repr) for table in TABLES}


def files(results: Path) -> list[tuple[str, bytes]]:
    """The name and the contents of every file of every run."""
    paths = (results / ARTIFACTS / "tiny").glob("*/artifacts/*")
    return sorted((path.name, path.read_bytes()) for path in paths)


def test_many_at_a_time_are_the_rows_that_the_client_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_by_one, together = results_folder(tmp_path / "one-by-one"), results_folder(tmp_path / "together")
    for folder in records(tiny(tmp_path), one_by_one).values():
        shutil.copytree(folder.path, together / "runs" / folder.key)
    monkeypatch.setattr(run_metrics, "now", lambda: 1_700_000_000_000)
    with monkeypatch.context() as by_client:
        by_client.setattr(RunLogger, "_logged_at_once", lambda *of: False)
        by_client.setattr(local_runs, "add_entries", lambda *of: (_ for _ in ()).throw(sqlite3.OperationalError))
        by_client.setattr("hfbench.tracking.study_runs.runs_made_by", local_runs.add_entries)
        verdicts = judged_twice(tmp_path, one_by_one)
    assert judged_twice(tmp_path, together) == verdicts
    assert len(verdicts) == 4
    assert tables(together) == tables(one_by_one)
    assert files(together) == files(one_by_one)
    assert all(tables(together).values())


def judged_twice(folder: Path, results: Path) -> list[str]:
    """The keys of the runs, all logged and judged, the second time with a metric that is a number no longer."""
    tracker, log, keys = logger(folder, results)
    assert list(log.recorded(keys)) == [len(keys)]
    for numbers in ({"stat/ratio": 0.9, "stat/p": 0.01}, {"stat/ratio": 1.1}):
        tracker.judge(dict.fromkeys(keys, ("better", numbers)))
    return sorted(tracker.logged())


def test_runs_are_read_as_the_client_reads_them(tmp_path: Path, results: Path) -> None:
    records(tiny(tmp_path), results)
    judged_twice(tmp_path, results)
    tracker, *_ = logger(tmp_path, results)
    asked = "tags.run_key != '' and tags.`mlflow.source.name` = 'hfbench run'"
    by_client = {run.info.run_id: run for run in tracker.client.search_runs([tracker.experiment], asked)}
    read = {run.info.run_id: run for run in local_runs.runs_made_by(results, tracker.experiment, "hfbench run")}
    assert read.keys() == by_client.keys()
    assert len(read) == 4
    for key, run in read.items():
        assert dict(run.info) == dict(by_client[key].info)
        assert (run.data.params, run.data.tags) == (by_client[key].data.params, by_client[key].data.tags)
        assert repr(sorted(run.data.metrics.items())) == repr(sorted(by_client[key].data.metrics.items()))
    assert local_runs.runs_made_by(results, tracker.experiment, "hfbench sweep") == []


def test_a_run_that_cannot_be_logged_costs_no_other(tmp_path: Path, results: Path) -> None:
    broken, *others = records(tiny(tmp_path), results).values()
    console = Console(record=True, file=io.StringIO(), width=200)
    tracker, log, keys = logger(tmp_path, results, console)
    broken.trace_path.write_bytes(b"no trace")
    assert list(log.recorded(keys)) == [4]
    assert set(tracker.logged()) == {folder.key for folder in others}
    assert console.export_text().count(f"{broken.key} is recorded but not in MLflow yet") == 1


def test_all_of_them_are_written_or_none(tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records(tiny(tmp_path), results)
    tracker, log, keys = logger(tmp_path, results)
    before = tables(results)
    monkeypatch.setattr(local_runs, "LATEST", "INSERT INTO no_such_table VALUES (?, ?, ?, ?, ?, ?)")
    with pytest.raises(sqlite3.OperationalError):
        tracker.log_runs({log.setting.folder(key): log.params[key] for key in keys})
    assert tables(results) == before
    assert files(results) == []
    assert list(log.recorded(keys)) == [4], "the client's statements are its own"
    assert len(tracker.logged()) == 4


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is sent to the store: the statements of MLflow's client, and transactions of many runs."""
    found: list[str] = []
    begun = local_runs._transaction
    monkeypatch.setattr(local_runs, "_transaction", lambda results: found.append("many runs") or begun(results))

    def by_client(connection: Any, cursor: Any, statement: str, *of: Any) -> None:
        found.append(statement)

    event.listen(Engine, "before_cursor_execute", by_client)
    yield found
    event.remove(Engine, "before_cursor_execute", by_client)


@pytest.mark.slow
def test_no_run_costs_a_statement_of_its_own(tmp_path: Path, sent: list[str]) -> None:
    counted = {}
    for seeds in (5, 50):
        results = results_folder(tmp_path / f"{seeds}-seeds")
        study = tiny(tmp_path / str(seeds), f"study.seeds={seeds}")
        records(study, results)
        for when in ("first", "again"):
            sent.clear()
            assert compare_quietly(study, results)[0] == 0
            counted[seeds, when] = len(sent)
        runs = MlflowClient(f"sqlite:///{results / 'mlflow.db'}").search_runs(["1"], max_results=1000)
        assert len(runs) == 2 * seeds + 1
    assert counted[50, "again"] == counted[5, "again"]
    assert counted[50, "first"] == counted[5, "first"]
