"""MLflow as the record people browse: experiment = study, parent run = its verdict, children = runs.

Only the process that started the study writes; runs are logged whole when they have ended, from their folders, so that
logging costs a run nothing and can be repeated at any time without duplicating anything.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hfbench.errors import StoreError
from hfbench.store import COMPLETE, RunFolder, make_folder, safe_name

CURVE_POINTS = 100
BATCH = 1000  # entries in one call
TEXT = 6000  # characters of a param
NOTHING: Mapping[str, Any] = MappingProxyType({})

# trace column -> metric; the text before the slash is the section it is shown in
METRICS = {
    "train_objective_batch": "train/objective_batch",
    "gradient_norm": "train/gradient_norm",
    "variance_l1": "train/variance_l1",
    "validation_objective": "validation/objective",
    "validation_error": "validation/error",
    "test_error": "test/error",
    "damping": "opt/damping",
    "rho": "opt/rho",
    "inner_iterations": "opt/inner_iterations",
    "chosen_iterate": "opt/chosen_iterate",
    "step_length": "opt/step_length",
    "step_norm": "opt/step_norm",
    "q": "opt/q",
    "seconds": "cost/seconds",
    "work": "cost/work",
    "products": "cost/products",
    "cases_gradient": "cost/cases_gradient",
    "cases_curvature": "cost/cases_curvature",
    "distinct_cases": "cost/distinct_cases",
    "batch_gradient": "cost/batch_gradient",
    "batch_curvature": "cost/batch_curvature",
    "peak_memory": "cost/peak_memory",
}


class Tracker:
    """Writes one study into an MLflow store."""

    def __init__(self, results: Path, study: str, study_key: str, params: Mapping[str, Any] = NOTHING) -> None:
        """Opens the store that MLFLOW_TRACKING_URI names, or `<results>/mlflow.db`, and the study's parent run.

        `study_key` identifies the set of runs and how they are judged: the same key has the same parent, and the same
        `params`. Raises StoreError if the store cannot be opened.
        """
        self.results, self.study = Path(results).absolute(), safe_name(study)
        try:
            self.client, self.experiment = self._open()
            self.parent = self._parent(study_key, params)
        except _mlflow_errors() as error:
            raise StoreError(f"the MLflow store {tracking_uri(self.results)} must be usable, but: {error}") from error

    def _open(self) -> tuple[Any, str]:
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # creating a store is not news
        uri = tracking_uri(self.results)
        if uri == local_uri(self.results):
            _write_ahead(self.results / "mlflow.db")
        client = MlflowClient(tracking_uri=uri)
        known = client.get_experiment_by_name(self.study)
        if known is None:
            place = None if _is_remote(uri) else make_folder(self.results / "mlflow-artifacts" / self.study).as_uri()
            experiment = client.create_experiment(self.study, artifact_location=place)
            if not os.environ.get("MLFLOW_TRACKING_URI"):  # another's store stays as it is
                _hide_default(client)
            return client, experiment
        if known.lifecycle_stage == "deleted":
            client.restore_experiment(known.experiment_id)
        return client, known.experiment_id

    def _parent(self, study_key: str, params: Mapping[str, Any]) -> str:
        known = self._search(f"tags.study_key = '{study_key}'")
        if known:
            parent = known[0]
        else:
            tags = {"study_key": study_key, "study": self.study, "mlflow.source.name": "hfbench run"}
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
        """The children of this parent by run key."""
        children = self._search(f"tags.`mlflow.parentRunId` = '{self.parent}'")
        return {child.data.tags.get("run_key", ""): child for child in children}

    def log_run(self, folder: RunFolder, params: Mapping[str, Any], known: Any = None) -> str:
        """One ended run as a child; `known` is the child that `logged` found for it.

        A finished child is left alone, any other is replaced. Returns the MLflow run's id.
        """
        if known is not None:
            if known.info.status == "FINISHED":
                return str(known.info.run_id)
            self.client.delete_run(known.info.run_id)
        result = folder.result() or {}
        complete = result.get("outcome") in COMPLETE
        began, ended = _span(folder, result)
        tags = {name: str(result.get(name)) for name in ("task", "seed", "method", "outcome")}
        tags |= {"solver": str(params.get("solver", "")), "run_key": folder.key, "study": self.study}
        tags |= {"mlflow.parentRunId": self.parent, "mlflow.source.name": "hfbench run"}
        if result.get("error"):
            tags["error"] = str(result["error"])[:TEXT]
        name = f"{result.get('method')}/{result.get('task')}/s{result.get('seed')}"
        run = self.client.create_run(self.experiment, start_time=began, tags=tags, run_name=name).info.run_id
        self._log_values(run, params, [*_summary(result, ended), *(_curve(folder, began) if complete else ())])
        for file in ("config.json", "result.json", "trace.parquet", "error.txt"):
            if (folder.path / file).exists():
                self.client.log_artifact(run, str(folder.path / file))
        self.client.set_terminated(run, "FINISHED" if complete else "FAILED", end_time=ended)
        return str(run)

    def _log_values(self, run: str, params: Mapping[str, Any], metrics: list[Any]) -> None:
        from mlflow.entities import Param

        entries = [Param(name, str(value)[:TEXT]) for name, value in params.items()]
        first = max(0, BATCH - len(entries))
        self.client.log_batch(run, params=entries, metrics=metrics[:first])
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
        from mlflow.entities import Metric, RunTag

        there = self.client.get_run(self.parent).data.metrics
        now = int(time.time() * 1000)
        new = [
            Metric(name, float(value), now, 0)
            for name, value in metrics.items()
            if math.isfinite(value) and there.get(name) != value
        ]
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


def _mlflow_errors() -> tuple[type[Exception], ...]:
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
    kept = [name for name in names if name not in ("seed", "threads") and math.isfinite(result[name])]
    return [solved, *(Metric(f"summary/{name}", float(result[name]), when, last) for name in kept)]


def _curve(folder: RunFolder, began: int) -> list[Any]:
    """At most 100 rows of the trace, evenly spread from first to last; numbers that are not finite are left out."""
    from mlflow.entities import Metric

    rows = folder.rows()
    count = min(len(rows), CURVE_POINTS)
    chosen = sorted({round(i * (len(rows) - 1) / max(count - 1, 1)) for i in range(count)})
    return [
        Metric(metric, float(row[column]), began + int(1000 * row["seconds"]), row["iteration"])
        for row in (rows[i] for i in chosen)
        for column, metric in METRICS.items()
        if row[column] is not None and math.isfinite(row[column])
    ]
