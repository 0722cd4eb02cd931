"""A recorded run as MLflow's metrics: its summary, and a thinned curve."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hfbench.records.run_folder import COMPLETE, RunFolder
from hfbench.records.trace import COLUMNS
from hfbench.tracking.local_runs import EndedRun, Entries

FILES = ("config.json", "result.json", "trace.parquet", "error.txt")  # of a record, kept beside its metrics
CURVE_POINTS = 50  # more is what logging a run costs: 0.1 ms and 200 bytes for each metric of each


@dataclass
class Child:
    """A run's MLflow run that has not ended, and the rows it has: (iteration, seconds on the run's clock, time in ms).

    The first stands for the beginning.
    """

    run: str
    rows: list[tuple[int, float, int]]

    @classmethod
    def beginning(cls, run: str, began: int) -> Child:
        """A child without rows, of a run that began at this time."""
        return cls(run, [(-1, 0.0, began)])

    @property
    def last(self) -> int:
        return self.rows[-1][0]

    def time(self, row: Mapping[str, Any]) -> int:
        """When a row was made: the run's clock, which stands still in evaluations, is set right at every row logged."""
        before = bisect_right(self.rows, row["iteration"], key=lambda one: one[0]) - 1
        _, seconds, time = self.rows[before]
        return time + int(1000 * (row["seconds"] - seconds))


def ended_run(folder: RunFolder, child: Child | None) -> EndedRun:
    """A recorded run, without what its child has already; name, params and tags that identify it are the caller's."""
    result = folder.result() or {}
    start, end = start_and_end(folder, result)
    complete = result.get("outcome") in COMPLETE
    curve = curve_metrics(folder.rows(), child or Child.beginning("", start)) if complete else []
    outcome = {name: str(result[name]) for name in ("outcome", "error") if result.get(name)}
    entries = Entries(tags=outcome, metrics=[*summary_metrics(result, end), *curve])
    files = {name: contents for name in FILES if (contents := folder.read(name)) is not None}
    return EndedRun("", "FINISHED" if complete else "FAILED", start, end, entries, files)


def start_and_end(folder: RunFolder, result: Mapping[str, Any]) -> tuple[int, int]:
    """Start and end in milliseconds: the end is when the result was written, the length is what the clock says."""
    ended = int((folder.path / "result.json").stat().st_mtime * 1000)
    return ended - int(1000 * (result.get("seconds") or 0.0)), ended


def summary_metrics(result: Mapping[str, Any], when: int) -> list[Any]:
    from mlflow.entities import Metric

    names = [name for name, value in result.items() if isinstance(value, float | int) and not isinstance(value, bool)]
    last = int(result.get("iterations") or 0)
    solved = Metric("summary/solved", float(result.get("outcome") == "reached"), when, last)
    other = ("seed", "threads", "test_resolution", "validation_resolution")
    kept = [name for name in names if name not in other and math.isfinite(result[name])]
    return [*(Metric(f"summary/{name}", float(result[name]), when, last) for name in kept), solved]


def curve_metrics(rows: Sequence[Mapping[str, Any]], child: Child) -> list[Any]:
    """At most 50 rows of the trace that were evaluated, evenly spread, without those that the child has already."""
    rows = [row for row in rows if row["test_error"] is not None]
    count = min(len(rows), CURVE_POINTS)
    chosen = sorted({round(i * (len(rows) - 1) / max(count - 1, 1)) for i in range(count)})
    there = {iteration for iteration, _, _ in child.rows}
    return [
        metric
        for row in (rows[i] for i in chosen)
        if row["iteration"] not in there
        for metric in row_metrics(row, child.time(row))
    ]


def row_metrics(row: Mapping[str, Any], when: int) -> list[Any]:
    """The metrics of one row; numbers that are not finite are left out."""
    from mlflow.entities import Metric

    return [
        Metric(column.metric, float(row[name]), when, row["iteration"])
        for name, column in COLUMNS.items()
        if column.metric and row.get(name) is not None and math.isfinite(row[name])
    ]


def changed_metrics(metrics: Mapping[str, float], there: Mapping[str, float], prefix: str, step: int = 0) -> list[Any]:
    """What makes the metrics with a prefix these, and no others, of a run that has those that are `there`.

    MLflow deletes no metric: one that is finite no longer becomes not a number.
    """
    from mlflow.entities import Metric

    wanted = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
    gone = {name: math.nan for name, value in there.items() if name.startswith(prefix) and not math.isnan(value)}
    when = now()
    return [Metric(name, value, when, step) for name, value in (gone | wanted).items() if there.get(name) != value]


def now() -> int:
    return int(time.time() * 1000)
