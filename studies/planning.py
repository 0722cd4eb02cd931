"""`hfbench run --plan`: what a study will cost, from the first seconds of one run of every method on every task.

A run begun for it is no waste: it is one of the study's own, and `hfbench run` goes on from there. Its pace, seconds
per unit of each limit of the budget, is that of its last third, since steps grow dearer as lambda falls; where a run
ends at its target, log test error is taken to fall on as it did there. The budget is the most that it can cost.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from hfbench.config import Study
from hfbench.experiment import attempt
from hfbench.runspec import RunSpec, plan
from hfbench.store import RunFolder, prepare

from .beside import examined
from .run import missing_of, preflight
from .words import count, grid_of

PROBE = 20.0  # seconds that a run is begun for, with its data and imports
UNITS = {
    "passes": "work",
    "iterations": "iteration",
    "seconds": "seconds",
    "products": "products",
}  # of limits: columns
TAIL = 3  # the last third tells the pace
RESULT = 25_000  # bytes of config, result and pictures of a run
ROW, TRACE = 150, 10_000  # bytes of a trace: for each row, and anyway
MLFLOW = 15_000  # bytes of a run in the store, and for each row
MLFLOW_ROW, MLFLOW_ROWS = 24 * 230, 50

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Begun:
    """A run as far as it went."""

    rows: Sequence[Row]
    ended: bool
    overhead: float  # seconds of the wall for each second on the clock: evaluation, records
    start: float  # seconds of the wall before the first step: data
    error: str = ""


@dataclass(frozen=True)
class Estimate:
    """What one run of a method on a task will take."""

    task: str
    method: str
    left: int  # runs
    seconds: float  # of the wall, each
    most: float  # the same, if it spends its budget
    iterations: float
    memory: int  # bytes
    known: bool  # from runs that have ended
    done: float = 0.0  # seconds already spent on the runs that are left
    error: str = ""

    @property
    def disk(self) -> float:
        """Bytes of one run's records."""
        return RESULT + TRACE + ROW * self.iterations + MLFLOW + MLFLOW_ROW * min(self.iterations, MLFLOW_ROWS)


def plan_study(study: Study, results: Path, jobs: int, data: str | None, console: Console) -> int:
    """Begins one run for every method on every task that has none yet, and prints what all will take.

    Returns 0; 1 if some method failed. Raises as `hfbench.studies.run.run_study` does.
    """
    specs = {spec.key(): spec for spec in plan(study, data)}
    missing = missing_of(specs, results)
    preflight(missing.values(), data)
    prepare(results)
    groups: dict[tuple[str, str], list[tuple[str, RunSpec]]] = {}
    for key, spec in specs.items():
        groups.setdefault((spec.task, spec.method.name), []).append((key, spec))
    first = {name: _representative(members, missing) for name, members in groups.items()}
    # What follows another's batches waits for them; it is taken to be as long.
    asked = {name: one for name, one in first.items() if not one[1].follows}
    said = f"{study.name}: beginning {count(len(asked), 'run')}, up to {PROBE:g} s each"
    console.print(escape(said), highlight=False, soft_wrap=True)
    calls = [(key, spec, results, study.name, data) for key, spec in asked.values()]
    begun = dict(zip(asked, examined(_begin, calls, jobs, console, "run"), strict=True))
    missing = missing_of(specs, results)  # some may have ended
    found = [
        _estimate(name, [key for key, _ in members if key in missing], first[name], begun[_leader(name, first, asked)])
        for name, members in groups.items()
    ]
    console.print(table(found))
    for line in summary(found, len(specs), jobs):
        console.print(escape(line), highlight=False, soft_wrap=True)
    console.print(workers_table(found, jobs))
    return 1 if any(one.error for one in found) else 0


def _representative(members: Sequence[tuple[str, RunSpec]], missing: Mapping[str, RunSpec]) -> tuple[str, RunSpec]:
    """A run that has ended, if one has, else the first."""
    return next((one for one in members if one[0] not in missing), members[0])


def _leader(name: tuple[str, str], first: Mapping[Any, tuple[str, RunSpec]], asked: Mapping[Any, Any]) -> Any:
    """Whose run tells of it: its own, or that of the method whose batches it meets again."""
    if name in asked:
        return name
    return name[0], first[name][1].method.batches_of


# ---------------------------------------------------------------- a run begun


def _begin(key: str, spec: RunSpec, results: Path, study: str, data: str | None) -> Begun:
    folder = RunFolder(results, key)
    before = _rows(folder)
    since = time.perf_counter()
    result = attempt(spec, folder, study, data, checkpoint_every=math.inf, limit=PROBE)
    wall = time.perf_counter() - since
    if result["outcome"] == "failed":
        return Begun([], True, 1.0, 0.0, result["error"])
    rows = _rows(folder)
    clock = rows[-1]["seconds"] - (before[-1]["seconds"] if before else 0.0)
    start = result.get("start", 0.0)
    overhead = (wall - start) / clock if clock > 0 else 1.0
    return Begun(rows, result["outcome"] != "", max(overhead, 1.0), start)


def _rows(folder: RunFolder) -> list[Row]:
    if folder.is_complete():
        return list(folder.rows())
    return list((folder.load_checkpoint() or {}).get("rows", []))


# ---------------------------------------------------------------- what it tells


def _estimate(name: tuple[str, str], left: Sequence[str], one: tuple[str, RunSpec], begun: Begun) -> Estimate:
    task, method = name
    if begun.error:
        return Estimate(task, method, len(left), 0.0, 0.0, 0.0, 0, True, error=begun.error)
    rows, spec = begun.rows, one[1]
    most = rows[-1]["seconds"] if begun.ended else at_budget(rows, spec.budget)
    seconds = most if begun.ended or not spec.stop_at_target else min(most, at_target(rows, spec.target))
    last = rows[-1]
    iterations = last["iteration"] * seconds / last["seconds"] if last["seconds"] > 0 else last["iteration"]
    done = last["seconds"] * begun.overhead + begun.start if one[0] in left else 0.0
    wall, wall_most = (begun.start + begun.overhead * value for value in (seconds, most))
    memory = int(last["peak_memory"] or 0)
    return Estimate(task, method, len(left), wall, wall_most, iterations, memory, begun.ended, min(done, wall))


def at_budget(rows: Sequence[Row], budget: Mapping[str, float]) -> float:
    """The seconds on the clock at which the first limit of the budget is spent."""
    return min(_reached(rows, [row[UNITS[unit]] or 0.0 for row in rows], limit) for unit, limit in budget.items())


def at_target(rows: Sequence[Row], target: float) -> float:
    """The seconds on the clock at which the test error will be at the target; infinite where it does not fall."""
    return _reached(rows, [-math.log(max(row["test_error"], 1e-300)) for row in rows], -math.log(max(target, 1e-300)))


def _reached(rows: Sequence[Row], measure: Sequence[float], limit: float) -> float:
    """When the measure is at the limit, if it goes on as in the last third of the rows."""
    if limit <= measure[-1]:
        return float(rows[-1]["seconds"])
    back = max(1, len(rows) // TAIL)
    first = max(len(rows) - 1 - back, 0)
    gained, took = measure[-1] - measure[first], rows[-1]["seconds"] - rows[first]["seconds"]
    if gained <= 0:
        return math.inf
    return float(rows[-1]["seconds"] + (limit - measure[-1]) * took / gained)


def makespan(seconds: Sequence[float], workers: int) -> float:
    """When so many workers are done that take the longest runs first."""
    free = [0.0] * workers
    for one in sorted(seconds, reverse=True):
        heapq.heapreplace(free, free[0] + one)
    return max(free)


def _all(found: Sequence[Estimate]) -> Iterator[float]:
    """The seconds of every run that is left; what is begun needs less."""
    for one in found:
        for place in range(one.left):
            yield one.seconds - (one.done if place == 0 else 0.0)


# ---------------------------------------------------------------- tables


def table(found: Sequence[Estimate]) -> Any:
    grid = grid_of(Text("What one run takes", style="bold"))
    for head in ("task", "method", "left", "each", "at most", "steps", "memory", "disk"):
        grid.add_column(head, justify="left" if head in ("task", "method") else "right")
    task = ""
    for one in found:
        named = one.task if one.task != task else ""
        task = one.task
        if one.error:
            grid.add_row(named, one.method, str(one.left), f"failed: {one.error}", *[""] * 4)
            continue
        mark = "" if one.known else "~"
        grid.add_row(
            named,
            one.method,
            str(one.left),
            mark + duration(one.seconds),
            duration(one.most),
            f"{mark}{one.iterations:.0f}",
            size(one.memory),
            size(one.disk),
        )
    return grid


def summary(found: Sequence[Estimate], total: int, jobs: int) -> Iterator[str]:
    left, seconds = sum(one.left for one in found), sum(_all(found))
    memory = jobs * max((one.memory for one in found), default=0)
    disk = sum(one.disk * one.left for one in found)
    yield f"{left} of {count(total, 'run')} left: {duration(seconds)} of one core, {size(disk)} of records"
    yield f"{jobs} at a time take up to {size(memory)} of memory"


def workers_table(found: Sequence[Estimate], jobs: int) -> Any:
    """When so many workers would be done, up to where more are of no use."""
    grid = grid_of(Text("When all have run", style="bold"))
    for head in ("workers", "in", "by"):
        grid.add_column(head, justify="right")
    seconds = list(_all(found))
    counts = sorted({jobs, *(2**k for k in range(20) if 2**k <= max(len(seconds), 1))})
    last = math.inf
    for workers in counts:
        span = makespan(seconds, workers)
        if span < 0.99 * last:
            grid.add_row(str(workers), duration(span), time.strftime("%a %H:%M", time.localtime(time.time() + span)))
            last = span
    return grid


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.4 h`, `2.1 days`."""
    for unit, length, most in (("s", 1.0, 100), ("min", 60.0, 100), ("h", 3600.0, 48)):
        if seconds < most * length:
            value = seconds / length
            return f"{value:.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"
    return f"{seconds / 86400:.1f} days"


def size(number: float) -> str:
    """`340 kB`, `1.2 GB`."""
    for unit, length in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if number < 1000 * length:
            value = number / length
            return f"{value:.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"
    return f"{number / 1e12:.1f} TB"
