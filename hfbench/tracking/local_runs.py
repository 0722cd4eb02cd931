"""Runs in the store of a results folder, read and written many at a time.

MLflow's client makes six transactions and some sixty statements for one run. Here hundreds of runs are one transaction,
in the tables that MLflow declares, and with the rows that its client writes. Only the one process that writes a study
to its own store may do so. A database with other tables raises sqlite3.Error and stays as it is.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hfbench.records.files import make_folder
from hfbench.tracking.local_store import ARTIFACTS, FILE, artifacts_uri

CACHE = 32_000  # kB of pages: the primary keys of the runs' metrics lie all over the table
WAIT = 20.0  # seconds for another writer, as MLflow waits
RUNS = """INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,
    end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)
    VALUES (?, ?, 'UNKNOWN', '', '', 'unknown', ?, ?, ?, '', 'active', ?, ?)"""
PARAMS = "INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)"
TAGS = "INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
METRICS = """INSERT INTO metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO NOTHING"""
# MLflow shows of each metric the point of the last step, of these the one of the latest time.
LATEST = """INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET value = excluded.value, timestamp = excluded.timestamp, step = excluded.step,
    is_nan = excluded.is_nan
    WHERE (excluded.step, excluded.timestamp, excluded.value) > (step, timestamp, value)"""


@dataclass(frozen=True)
class Entries:
    """What is added to a run: params that it does not have, tags, points of metrics."""

    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[Any] = ()  # mlflow.entities.Metric

    def __bool__(self) -> bool:
        return bool(self.params or self.tags or self.metrics)


@dataclass(frozen=True)
class EndedRun:
    """A run that has ended, with all that belongs to it; times in milliseconds."""

    name: str
    status: str  # FINISHED or FAILED
    start: int
    end: int
    entries: Entries
    files: Mapping[str, bytes]  # contents by name


def add_runs(results: Path, study: str, experiment: str, runs: Sequence[EndedRun]) -> None:
    """Adds runs to a study, all of them or none. The runs' files are written."""
    named = {uuid.uuid4().hex: run for run in runs}
    home, folder = artifacts_uri(results, study), Path(results).absolute() / ARTIFACTS / study
    try:
        for name, run in named.items():
            place = make_folder(folder / name / "artifacts", Path(results))
            for file, contents in run.files.items():
                (place / file).write_bytes(contents)
        with _transaction(results) as connection:
            rows = [
                (name, run.name, run.status, run.start, run.end, f"{home}/{name}/artifacts", int(experiment))
                for name, run in named.items()
            ]
            connection.executemany(RUNS, rows)
            _add(connection, {name: run.entries for name, run in named.items()})
    except BaseException:
        for name in named:
            shutil.rmtree(folder / name, ignore_errors=True)
        raise


def add_entries(results: Path, added: Mapping[str, Entries]) -> None:
    """Adds entries to runs by their ids, to all of them or none."""
    with _transaction(results) as connection:
        _add(connection, added)


def runs_made_by(results: Path, experiment: str, command: str) -> list[Any]:
    """The runs of an experiment that have a key and were made by a command, as MLflow's client gives them."""
    from mlflow.entities import LifecycleStage, Metric, Param, Run, RunData, RunInfo, RunTag

    where = (
        "WHERE run_uuid IN (SELECT run_uuid FROM runs JOIN tags AS key USING (run_uuid) JOIN tags AS made "
        "USING (run_uuid) WHERE experiment_id = ? AND lifecycle_stage = 'active' AND key.key = 'run_key' "
        "AND key.value != '' AND made.key = 'mlflow.source.name' AND made.value = ?)"
    )
    of: tuple[Any, ...] = (int(experiment), command)
    with _transaction(results) as connection:
        infos = connection.execute(
            f"SELECT run_uuid, status, start_time, end_time, artifact_uri, name FROM runs {where}", of
        ).fetchall()
        data: dict[str, tuple[list[Any], list[Any], list[Any]]] = {row[0]: ([], [], []) for row in infos}
        latest = "SELECT run_uuid, key, CASE WHEN is_nan THEN NULL ELSE value END, timestamp, step FROM latest_metrics"
        for run, name, value, when, step in connection.execute(f"{latest} {where}", of):
            data[run][0].append(Metric(name, math.nan if value is None else value, when, step))
        for index, (table, entity) in enumerate((("params", Param), ("tags", RunTag)), 1):
            for run, name, value in connection.execute(f"SELECT run_uuid, key, value FROM {table} {where}", of):
                data[run][index].append(entity(name, value))
    return [
        Run(
            RunInfo(run, experiment, "unknown", status, start, end, LifecycleStage.ACTIVE, uri, run_name=name),
            RunData(*data[run]),
        )
        for run, status, start, end, uri, name in infos
    ]


@contextlib.contextmanager
def _transaction(results: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(Path(results).absolute() / FILE, timeout=WAIT)) as connection:
        connection.execute(f"PRAGMA cache_size=-{CACHE}")
        with connection:
            yield connection


def _add(connection: sqlite3.Connection, added: Mapping[str, Entries]) -> None:
    points = sorted(row for run, entries in added.items() for row in _points(run, entries.metrics))
    connection.executemany(PARAMS, _texts((run, entries.params) for run, entries in added.items()))
    connection.executemany(TAGS, _texts((run, entries.tags) for run, entries in added.items()))
    connection.executemany(METRICS, points)
    latest: dict[tuple[str, str], tuple[Any, ...]] = {}
    for point in sorted(points, key=lambda row: (row[3], row[2], row[1])):
        latest[point[0], point[-1]] = point
    connection.executemany(LATEST, latest.values())


def _texts(added: Iterable[tuple[str, Mapping[str, str]]]) -> Iterator[tuple[str, str, str]]:
    for run, texts in added:
        for name, value in texts.items():
            yield name, value, run


def _points(run: str, metrics: Sequence[Any]) -> Iterator[tuple[str, float, int, int, bool, str]]:
    """The rows of the points: one that is not a number has 0 as its value."""
    for metric in metrics:
        is_nan = math.isnan(metric.value)
        yield metric.key, 0.0 if is_nan else metric.value, metric.timestamp, metric.step, is_nan, run
