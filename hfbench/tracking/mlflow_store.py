"""MLflow as the record people browse: experiment = study, parent run = its verdict, children = runs.

Only the process that started the study writes. Runs are logged when they have ended, from their folders, so that it can
be repeated at any time without duplicating anything; of a long one, the newest rows are logged while it runs.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sqlite3
import time
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hfbench.errors import StoreError
from hfbench.records.files import make_folder, safe_name
from hfbench.records.locks import store_lock
from hfbench.records.run_folder import COMPLETE, RunFolder
from hfbench.records.trace import COLUMNS

CURVE_POINTS = 50  # more is what logging a run costs: 0.1 ms and 200 bytes for each metric of each
BATCH = 1000  # entries in one call
TEXT = 6000  # characters of a param
NOTHING: Mapping[str, Any] = MappingProxyType({})

# params by which the UI groups runs, as tags
TAGS = ("task", "seed", "method", "solver", "preconditioner", "scheduler", "optimizer")


@dataclass
class Child:
    """A run's MLflow run that has not ended, and the rows it has: (iteration, seconds on the run's clock, time in ms).

    The first stands for the beginning.
    """

    run: str
    rows: list[tuple[int, float, int]]

    @property
    def last(self) -> int:
        return self.rows[-1][0]

    def time(self, row: Mapping[str, Any]) -> int:
        """When a row was made: the run's clock, which stands still in evaluations, is set right at every row logged."""
        before = bisect_right(self.rows, row["iteration"], key=lambda one: one[0]) - 1
        _, seconds, time = self.rows[before]
        return time + int(1000 * (row["seconds"] - seconds))


class Tracker:
    """Writes one study into an MLflow store."""

    def __init__(
        self, results: Path, study: str, study_key: str, params: Mapping[str, Any] = NOTHING, by: str = "hfbench run"
    ) -> None:
        """Opens the store that MLFLOW_TRACKING_URI names, or `<results>/mlflow.db`, and the study's parent run.

        `study_key` identifies the set of runs and how they are judged: the same key has the same parent, and the same
        `params`, and the command `by` which it was made. Waits where another process makes the store. Raises
        StoreError if the store cannot be opened.
        """
        self.results, self.study, self.by = Path(results).absolute(), safe_name(study), by
        self.live: dict[str, Child] = {}  # by run key
        self._logged: dict[str, Any] | None = None  # a thousand take a second to read
        try:
            # Two that make a new store at once would both fail; a server sees to that itself.
            with contextlib.nullcontext() if _is_remote(tracking_uri(self.results)) else store_lock(self.results):
                self.client, self.experiment = self._open()
                self.parent = self._parent(study_key, params)
        except mlflow_errors() as error:
            raise StoreError(f"the MLflow store {tracking_uri(self.results)} must be usable, but: {error}") from error

    def _open(self) -> tuple[Any, str]:
        from mlflow.tracking import MlflowClient

        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # else two addresses for every run
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # creating a store is not news
        uri = tracking_uri(self.results)
        if uri == local_uri(self.results):
            _write_ahead(self.results / "mlflow.db")
        client = MlflowClient(tracking_uri=uri)
        known = client.get_experiment_by_name(self.study)
        if known is None:
            return client, self._experiment(client, uri)
        if known.lifecycle_stage == "deleted":
            client.restore_experiment(known.experiment_id)
        return client, known.experiment_id

    def _experiment(self, client: Any, uri: str) -> str:
        """A new experiment, or the one that another process has made just now."""
        place = None if _is_remote(uri) else make_folder(self.results / "mlflow-artifacts" / self.study).as_uri()
        try:
            made = str(client.create_experiment(self.study, artifact_location=place))
        except mlflow_errors():
            known = client.get_experiment_by_name(self.study)
            if known is None:
                raise
            return str(known.experiment_id)
        if not os.environ.get("MLFLOW_TRACKING_URI"):  # another's store stays as it is
            _hide_default(client)
        return made

    def _parent(self, study_key: str, params: Mapping[str, Any]) -> str:
        known = self._search(f"tags.study_key = '{study_key}'")
        if known:
            parent = known[0]
        else:
            tags = {"study_key": study_key, "study": self.study, "mlflow.source.name": self.by}
            tags["question"] = str(params.get("question", ""))[:TEXT]
            parent = self.client.create_run(self.experiment, tags=tags, run_name=self.study)
        # Params cannot be changed, and the process may have ended before they were written.
        missing = {name: value for name, value in params.items() if name not in parent.data.params}
        if missing:
            self._log_values(parent.info.run_id, missing, [])
        return str(parent.info.run_id)

    def _search(self, filter_string: str) -> list[Any]:
        found, token = [], None
        while True:
            page = self.client.search_runs([self.experiment], filter_string, max_results=1000, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def logged(self) -> dict[str, Any]:
        """The children of this parent by run key, as they were when this tracker last wrote one."""
        if self._logged is None:
            children = self._search(f"tags.`mlflow.parentRunId` = '{self.parent}'")
            self._logged = {child.data.tags.get("run_key", ""): child for child in children}
        return self._logged

    def begin(self) -> None:
        """The parent is under way again, whatever an earlier invocation left it as."""
        self.client.update_run(self.parent, "RUNNING")

    def log_row(self, key: str, params: Mapping[str, Any], row: Mapping[str, Any], known: Any = None) -> bool:
        """A row of a run under way, as the newest point of a child that is RUNNING; whether it was new.

        `known` is the child that `logged` found for it: a finished one is left alone, any other is replaced.
        """
        child, new = self.live.get(key), NOTHING
        if child is None:
            if known is not None and known.info.status == "FINISHED":
                return False
            began = _now() - int(1000 * row["seconds"])
            child, new = self._child(key, params, began, known), params
            self.live[key] = child
        if row["iteration"] <= child.last:
            return False
        now = _now()
        self._log_values(child.run, new, _point(row, now))
        child.rows.append((row["iteration"], row["seconds"], now))
        return True

    def log_run(self, folder: RunFolder, params: Mapping[str, Any], known: Any = None) -> str:
        """One ended run as a child; `known` is the child that `logged` found for it.

        A child that `log_row` began is completed, a finished one left alone, any other replaced. Returns the MLflow
        run's id.
        """
        child = self.live.get(folder.key)
        if child is None and known is not None and known.info.status == "FINISHED":
            return str(known.info.run_id)
        result = folder.result() or {}
        complete = result.get("outcome") in COMPLETE
        began, ended = _span(folder, result)
        if child is None:
            child = self._child(folder.key, params, began, known)
        metrics = [*_summary(result, ended), *(_curve(folder, child) if complete else ())]
        self._log_values(child.run, params, metrics, _outcome(result))
        for file in ("config.json", "result.json", "trace.parquet", "error.txt"):
            if (folder.path / file).exists():
                self.client.log_artifact(child.run, str(folder.path / file))
        self.client.set_terminated(child.run, "FINISHED" if complete else "FAILED", end_time=ended)
        self._logged = None
        self.live.pop(folder.key, None)
        return child.run

    def log_trial(
        self, key: str, name: str, params: Mapping[str, Any], metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> None:
        """A trial of a sweep as a child that has ended; `key` is what `logged` knows it by."""
        labels = {**tags, "run_key": key, "study": self.study}
        labels |= {"mlflow.parentRunId": self.parent, "mlflow.source.name": self.by}
        run = self.client.create_run(self.experiment, tags=labels, run_name=name).info.run_id
        self._log_values(run, params, _new(metrics, {}))
        self.client.set_terminated(run, "FINISHED")

    def _child(self, key: str, params: Mapping[str, Any], began: int, replaced: Any) -> Child:
        """A new child; the one that it replaces is deleted."""
        if replaced is not None:
            self.client.delete_run(replaced.info.run_id)
        tags = {name: str(params[name]) for name in TAGS if name in params} | {"run_key": key, "study": self.study}
        tags |= {"mlflow.parentRunId": self.parent, "mlflow.source.name": self.by}
        name = f"{params['method']}/{params['task']}/s{params['seed']}"
        run = self.client.create_run(self.experiment, start_time=began, tags=tags, run_name=name).info.run_id
        return Child(str(run), [(-1, 0.0, began)])

    def judge(self, child: Any, verdict: str, numbers: Mapping[str, float]) -> None:
        """What the comparison of a child's method came to on its task, for the UI to group and sort by.

        `child` is as `logged` gives it; what it has already is not repeated.
        """
        from mlflow.entities import RunTag

        there = child.data
        new = _new(numbers, there.metrics)
        tags = [] if there.tags.get("verdict") == verdict else [RunTag("verdict", verdict)]
        if new or tags:
            self.client.log_batch(child.info.run_id, metrics=new, tags=tags)
            self._logged = None

    def abandon(self) -> None:
        """Children that `log_row` began and `log_run` did not end are KILLED."""
        while self.live:
            _, child = self.live.popitem()
            self.client.set_terminated(child.run, "KILLED")
            self._logged = None

    def _log_values(
        self, run: str, params: Mapping[str, Any], metrics: list[Any], tags: Mapping[str, str] = NOTHING
    ) -> None:
        from mlflow.entities import Param, RunTag

        self._logged = None
        entries = [Param(name, str(value)[:TEXT]) for name, value in params.items()]
        labels = [RunTag(name, value[:TEXT]) for name, value in tags.items()]
        first = max(0, BATCH - len(entries) - len(labels))
        self.client.log_batch(run, params=entries, tags=labels, metrics=metrics[:first])
        for start in range(first, len(metrics), BATCH):
            self.client.log_batch(run, metrics=metrics[start : start + BATCH])

    def log_study(
        self,
        note: str,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        artifacts: Iterable[Path] = (),
        status: str = "FINISHED",
    ) -> None:
        """The parent's verdicts, its description (Markdown) and its files; what is there already is not repeated."""
        from mlflow.entities import RunTag

        new = _new(metrics, self.client.get_run(self.parent).data.metrics)
        labels = [RunTag(name, str(value)[:TEXT]) for name, value in tags.items()]
        for start in range(0, max(len(new), 1), BATCH - len(labels) - 1):
            batch = new[start : start + BATCH - len(labels) - 1]
            self.client.log_batch(self.parent, metrics=batch, tags=[*labels, RunTag("mlflow.note.content", note)])
        for file in artifacts:
            self.client.log_artifact(self.parent, str(file))
        self.client.set_terminated(self.parent, status)

    def close(self, status: str) -> None:
        """Ends the parent without a verdict, as "FAILED" or "KILLED"."""
        self.client.set_terminated(self.parent, status)


# ---------------------------------------------------------------- the store


def local_uri(results: Path) -> str:
    return f"sqlite:///{Path(results).absolute() / 'mlflow.db'}"


def tracking_uri(results: Path) -> str:
    """MLFLOW_TRACKING_URI where it is set, else the store in the results folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or local_uri(results)


def is_behind_server(uri: str) -> bool:
    """Whether an MLflow server, which has pages of its own, keeps the store."""
    return uri.startswith(("http://", "https://"))


def _is_remote(uri: str) -> bool:
    """A server decides itself where artifacts go."""
    return not uri.startswith(("sqlite:", "file:", "/", "."))


def _write_ahead(database: Path) -> None:
    """Readers (the UI) and the writer do not wait for each other; the mode stays with the file."""
    try:
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.Error as error:
        raise StoreError(f"{database} must be a writable sqlite database, but: {error}.") from error


def _hide_default(client: Any) -> None:
    """Deletes (it can be restored) the experiment MLflow makes in every new store, unless it has runs."""
    from mlflow.entities import ViewType

    default = client.get_experiment_by_name("Default")
    if default is None or default.experiment_id != "0" or default.lifecycle_stage == "deleted":
        return
    if not client.search_runs(["0"], run_view_type=ViewType.ALL, max_results=1):
        client.delete_experiment("0")


def mlflow_errors() -> tuple[type[Exception], ...]:
    """What a store may raise: MLflow's exceptions and the database's."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError


# ---------------------------------------------------------------- what is logged


def _span(folder: RunFolder, result: Mapping[str, Any]) -> tuple[int, int]:
    """Start and end in milliseconds: the end is when the result was written, the length is what the clock says."""
    ended = int((folder.path / "result.json").stat().st_mtime * 1000)
    return ended - int(1000 * (result.get("seconds") or 0.0)), ended


def _summary(result: Mapping[str, Any], when: int) -> list[Any]:
    from mlflow.entities import Metric

    names = [name for name, value in result.items() if isinstance(value, float | int) and not isinstance(value, bool)]
    last = int(result.get("iterations") or 0)
    solved = Metric("summary/solved", float(result.get("outcome") == "reached"), when, last)
    kept = [
        name for name in names if name not in ("seed", "threads", "test_resolution") and math.isfinite(result[name])
    ]
    return [*(Metric(f"summary/{name}", float(result[name]), when, last) for name in kept), solved]


def _outcome(result: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(result[name]) for name in ("outcome", "error") if result.get(name)}


def _curve(folder: RunFolder, child: Child) -> list[Any]:
    """At most 50 rows of the trace, evenly spread from first to last, without those that the child has already."""
    rows = folder.rows()
    count = min(len(rows), CURVE_POINTS)
    chosen = sorted({round(i * (len(rows) - 1) / max(count - 1, 1)) for i in range(count)})
    there = {iteration for iteration, _, _ in child.rows}
    return [
        metric
        for row in (rows[i] for i in chosen)
        if row["iteration"] not in there
        for metric in _point(row, child.time(row))
    ]


def _point(row: Mapping[str, Any], when: int) -> list[Any]:
    """The metrics of one row; numbers that are not finite are left out."""
    from mlflow.entities import Metric

    return [
        Metric(column.metric, float(row[name]), when, row["iteration"])
        for name, column in COLUMNS.items()
        if column.metric and row.get(name) is not None and math.isfinite(row[name])
    ]


def _new(metrics: Mapping[str, float], there: Mapping[str, float]) -> list[Any]:
    """The finite ones that are not there with the same value."""
    from mlflow.entities import Metric

    return [
        Metric(name, float(value), _now(), 0)
        for name, value in metrics.items()
        if math.isfinite(value) and there.get(name) != value
    ]


def _now() -> int:
    return int(time.time() * 1000)
