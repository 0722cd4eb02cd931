"""`hfbench run --plan`: the cost of a study, from the first seconds of one run of every method on every task.

The pilot runs are runs of the study, and `hfbench run` continues them. The pace of a run, in seconds per unit of each
limit of the budget, is taken from its last third, since steps become more expensive as lambda falls. If a run ends at
its target, log error is extrapolated from the same rows. The budget is the upper bound. Runs of other seeds are
started too, as far as time allows, since seeds differ. Fixed costs are counted once: the start of every worker, and
those of the command.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.text import Text

from hfbench.config.duplicate_methods import duplicate_methods
from hfbench.config.limit_advice import limit_advice
from hfbench.config.measures import LIMITS
from hfbench.config.run_spec import RunSpec
from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of
from hfbench.execution.parallel_map import CallGuard, parallel_map
from hfbench.execution.part_shipping import has_loadable
from hfbench.execution.pilot import PilotRun, Row, Sample, begin_pilots, lost_pilots
from hfbench.execution.pool import why_ended
from hfbench.execution.preflight import missing_of, preflight
from hfbench.messages import count
from hfbench.records.files import prepare
from hfbench.records.recorded_study import to_be_made_again
from hfbench.records.run_folder import RunFolder
from hfbench.records.shorter_runs import ShorterRuns
from hfbench.records.study_home import with_asked_seeds
from hfbench.report.wording import Name, duration, grid_of
from hfbench.statistics.seed_advice import seed_advice

PROBE = 20.0  # seconds that a run is begun for, with its data
SHARE = 3  # at most every third seed is run for the plan
PATIENCE = 60.0  # seconds that the plan may take for more than one seed of long runs
TAIL = 3  # the last third tells the pace
RESULT = 25_000  # bytes of config, result and pictures of a run
ROW, TRACE = 150, 10_000  # bytes of a trace: for each row, and anyway
MLFLOW = 15_000  # bytes of a run in the store, and for each row
MLFLOW_ROW, MLFLOW_ROWS = 24 * 230, 50
# Seconds of the command's own on a core of 2.1 GHz whose imports take IMPORTS: until a worker is ready, where none was
# started; imports and the MLflow store; logging a run; verdicts and figures of all tasks and of each.
IMPORTS, OPEN, LOGGED, REPORT, FIGURES = 1.9, 5.0, 0.08, 2.5, 2.2


@dataclass(frozen=True)
class Estimate:
    """Predicted cost of one run of a method on a task."""

    task: str
    method: str
    left: int  # runs
    seconds: float  # of the wall, each
    most: float  # the same, if it spends its budget
    iterations: float
    memory: int  # bytes
    known: bool  # from runs that have ended
    done: tuple[float, ...] = ()  # seconds already spent on runs that are left
    error: str = ""
    state: float = 0.0  # bytes that a run keeps: its weights, and what a larger budget goes on from

    @property
    def disk(self) -> float:
        """Bytes of one run's records."""
        mlflow = MLFLOW + MLFLOW_ROW * min(self.iterations, MLFLOW_ROWS)
        return RESULT + TRACE + ROW * self.iterations + mlflow + self.state


@dataclass(frozen=True)
class FixedCosts:
    """Fixed costs of a command, in seconds."""

    before: float  # for the command: until the first run is begun
    after: float  # and when the last has ended
    logged: float = LOGGED  # for every run


def plan_study(study: Study, results: Path, jobs: int, data: str | None, console: Console) -> int:
    """Starts one run for every method on every task that has none yet, and prints the predicted cost of the study.

    Returns 0, or 1 if some method failed. Raises as `hfbench.commands.run.run_study` does.
    """
    pace = _pace(time.process_time())
    study = with_asked_seeds(study, results)
    specs = {spec.key(): spec for spec in runs_of(study, data)}
    missing = missing_of(specs, results)
    since = time.perf_counter()
    preflight(missing.values(), data, console, apart=has_loadable())
    checked = time.perf_counter() - since
    prepare(results)
    groups: dict[tuple[str, str], list[tuple[str, RunSpec]]] = {}
    for key, spec in specs.items():
        groups.setdefault((spec.task, spec.method.name), []).append((key, spec))
    # What follows another's batches waits for them; it is taken to be as long.
    asked = {name: _chosen(members, missing) for name, members in groups.items() if not members[0][1].follows}
    turns = max(int(jobs * PATIENCE / max(PROBE * len(asked), 1.0)), 1)
    begun = sum(min(turns, len(runs)) for runs in asked.values())
    said = f"{study.name}: starting {count(begun, 'run')}, up to {PROBE:g} s each"
    console.print(said, highlight=False, soft_wrap=True)
    for line in to_be_made_again(specs, results):
        console.print(line, highlight=False, soft_wrap=True)
    for advice in seed_advice(study) if missing else ():
        console.print(advice, highlight=False)
    calls = [(runs, results, study.name, data, PROBE, turns, study.keep_weights) for runs in asked.values()]
    limits = [runs[0][1].budget.get("seconds", math.inf) for runs in asked.values()]
    guard = CallGuard(limits, lambda call, error: lost_pilots(call[0], why_ended(error)))
    samples = dict(zip(asked, parallel_map(begin_pilots, calls, jobs, console, "method", guard), strict=True))
    missing = missing_of(specs, results)  # some may have ended
    shorter = ShorterRuns(results)
    found = []
    for name, members in groups.items():
        left = {key: shorter.of(spec) for key, spec in members if key in missing}
        found.append(_estimate(name, members[0][1], left, samples[_leader(name, members)]))
    once = _once(checked, len(study.tasks), pace)
    console.print(run_table(found))
    for line in plan_summary(found, len(specs), jobs, once):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(workers_table(found, jobs, once))
    for advice in (
        *duplicate_methods(study),
        *limit_advice(study.primary, {spec.task: spec.budget for spec in specs.values()}),
    ):
        console.print(advice, highlight=False)
    return 1 if any(estimate.error for estimate in found) else 0


def _pace(imports: float) -> float:
    """Wall seconds per processor second of this command, measured on its imports.

    In a process that has done other work the measure is unreliable; hence the bounds.
    """
    return min(max(imports / IMPORTS, 0.25), 2.0)


def _once(checked: float, tasks: int, pace: float) -> FixedCosts:
    """`checked` are the seconds of the checks before any run, during which the processes of runs are got ready."""
    after = pace * (REPORT + FIGURES * tasks)
    return FixedCosts(pace * OPEN + checked, after, pace * LOGGED)


def _chosen(members: Sequence[tuple[str, RunSpec]], missing: Mapping[str, RunSpec]) -> list[tuple[str, RunSpec]]:
    """The runs to sample, in this order: those that have ended, then the first ones that have not."""
    ended = [member for member in members if member[0] not in missing]
    return [*ended, *(member for member in members if member[0] in missing)][: max(len(members) // SHARE, 1)]


def _leader(name: tuple[str, str], members: Sequence[tuple[str, RunSpec]]) -> tuple[str, str]:
    """The method whose runs predict its cost: itself, or the method whose batches it replays."""
    spec = members[0][1]
    return (name[0], str(spec.method.batches_of)) if spec.follows else name


# ---------------------------------------------------------------- what it tells


def _estimate(name: tuple[str, str], spec: RunSpec, left: Mapping[str, RunFolder | None], sample: Sample) -> Estimate:
    """Mean of the predictions from the runs of the sample, each at most its budget.

    `left` are the keys of the runs to be made, with the run that each goes on from.
    """
    task, method = name
    error = next((run.error for run in sample.runs if run.error), "")
    if error:
        return Estimate(task, method, len(left), 0.0, 0.0, 0.0, 0, True, error=error)
    predicted = [_whole(run, spec) for run in sample.runs]
    seconds, most, iterations = (fmean(values) for values in zip(*predicted, strict=True))
    done = {run.key: run.wall(run.rows[-1]["seconds"]) for run in sample.runs if run.key in left}
    overhead = fmean(run.overhead for run in sample.runs)
    for key, shorter in left.items():
        if shorter is not None:
            done.setdefault(key, overhead * float((shorter.result() or {})["seconds"]))
    memory = max(int(run.rows[-1]["peak_memory"] or 0) for run in sample.runs)
    known = all(run.ended for run in sample.runs)
    spent = tuple(min(spent_so_far, seconds) for spent_so_far in done.values())
    # A run that ends at its target keeps no checkpoint.
    cut_off = [run.ended or whole >= limit for run, (whole, limit, _) in zip(sample.runs, predicted, strict=True)]
    state = fmean(run.state if cut else 0 for run, cut in zip(sample.runs, cut_off, strict=True))
    weights = fmean(run.weights for run in sample.runs)
    return Estimate(task, method, len(left), seconds, most, iterations, memory, known, spent, state=state + weights)


def _whole(one: PilotRun, spec: RunSpec) -> tuple[float, float, float]:
    """Wall seconds and steps of a complete run, and its seconds if it spends its budget."""
    last = one.rows[-1]
    most = at_budget(one.rows, spec.budget)
    seconds = last["seconds"] if one.ended else most
    if not one.ended and spec.stop_at_target:
        seconds = min(most, at_target(one.rows, spec.target, spec.target_column))
    iterations = last["iteration"] * seconds / last["seconds"] if last["seconds"] > 0 else last["iteration"]
    return one.wall(seconds), one.wall(most), iterations


def at_budget(rows: Sequence[Row], budget: Mapping[str, float]) -> float:
    """The seconds on the clock at which the first limit of the budget is spent."""
    return min(_reached(rows, [row[LIMITS[unit]] or 0.0 for row in rows], limit) for unit, limit in budget.items())


def at_target(rows: Sequence[Row], target: float, column: str) -> float:
    """The seconds on the clock at which the error in a column meets the target; infinite where it does not fall."""
    known = [row for row in rows if row[column] is not None]
    return _reached(known, [-math.log(max(row[column], 1e-300)) for row in known], -math.log(max(target, 1e-300)))


def _reached(rows: Sequence[Row], measure: Sequence[float], limit: float) -> float:
    """The time at which the measure reaches the limit, extrapolated from the last third of the rows."""
    if limit <= measure[-1]:
        return float(rows[-1]["seconds"])
    back = max(1, len(rows) // TAIL)
    first = max(len(rows) - 1 - back, 0)
    gained, took = measure[-1] - measure[first], rows[-1]["seconds"] - rows[first]["seconds"]
    if gained <= 0:
        return math.inf
    return float(rows[-1]["seconds"] + (limit - measure[-1]) * took / gained)


def makespan(seconds: Sequence[float], workers: int) -> float:
    """The time at which so many workers are done if they take the longest runs first."""
    free = [0.0] * workers
    for length in sorted(seconds, reverse=True):
        heapq.heapreplace(free, free[0] + length)
    return max(free)


def whole(seconds: Sequence[float], workers: int, once: FixedCosts) -> float:
    """Seconds of the whole command with so many workers.

    Logging takes a share of the workers' cores, and cannot be divided among them.
    """
    logging = once.logged * len(seconds)
    running = max(makespan(seconds, workers) + logging / workers, logging)
    return once.before + running + once.after


def _all(found: Sequence[Estimate]) -> Iterator[float]:
    """The seconds of every run that is left; runs already started need less."""
    for estimate in found:
        for index in range(estimate.left):
            yield estimate.seconds - (estimate.done[index] if index < len(estimate.done) else 0.0)


# ---------------------------------------------------------------- tables


def run_table(found: Sequence[Estimate]) -> Any:
    grid = grid_of(Text("Cost of one run", style="bold"))
    for head in ("task", "method", "left", "each", "at most", "steps", "memory", "disk"):
        named = head in ("task", "method")
        grid.add_column(head, justify="left" if named else "right", overflow="fold" if named else "ellipsis")
    task = ""
    for estimate in found:
        names = Name(estimate.task if estimate.task != task else ""), Name(estimate.method)
        task = estimate.task
        if estimate.error:
            grid.add_row(*names, str(estimate.left), f"failed: {estimate.error}", *[""] * 4)
            continue
        mark = "" if estimate.known else "~"
        grid.add_row(
            *names,
            str(estimate.left),
            mark + duration(estimate.seconds),
            duration(estimate.most),
            f"{mark}{estimate.iterations:.0f}",
            size(estimate.memory),
            size(estimate.disk),
        )
    return grid


def plan_summary(found: Sequence[Estimate], total: int, jobs: int, once: FixedCosts) -> Iterator[str]:
    left, seconds = sum(estimate.left for estimate in found), sum(_all(found))
    memory = jobs * max((estimate.memory for estimate in found), default=0)
    disk = sum(estimate.disk * estimate.left for estimate in found)
    yield f"{left} of {count(total, 'run')} left: {duration(seconds)} of one core, {size(disk)} of records"
    yield f"{count(jobs, 'run')} at a time take up to {size(memory)} of memory"
    beside = f"{duration(once.before)} before the first run, {duration(once.logged * left)} for MLflow"
    yield f"besides: {beside}, {duration(once.after)} for the report"


def workers_table(found: Sequence[Estimate], jobs: int, once: FixedCosts) -> Any:
    """Table of the finishing time by the number of workers, up to where more are of no use."""
    grid = grid_of(Text("Time until the report", style="bold"))
    for head in ("workers", "in", "by"):
        grid.add_column(head, justify="right")
    seconds = list(_all(found))
    counts = sorted({jobs, *(2**k for k in range(20) if 2**k <= max(len(seconds), 1))})
    last = math.inf
    for workers in counts:
        span = whole(seconds, workers, once)
        if span < 0.99 * last:
            grid.add_row(str(workers), duration(span), time.strftime("%a %H:%M", time.localtime(time.time() + span)))
            last = span
    return grid


def size(number: float) -> str:
    """`340 kB`, `1.2 GB`."""
    for unit, length in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if number < 1000 * length:
            value = number / length
            return f"{value:.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"
    return f"{number / 1e12:.1f} TB"
