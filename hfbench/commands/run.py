"""A whole study: check, run what is missing, record in MLflow, and say what was found."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from hfbench.config.devices import device_of, is_here
from hfbench.config.load import Study
from hfbench.config.run_spec import RunSpec, plan
from hfbench.execution.backends import Engine
from hfbench.execution.broken_pipe import unread_is_fine
from hfbench.execution.interrupts import INTERRUPTED, TERMINATED, Terminated, sigterm_interrupts
from hfbench.execution.pool import CHECKPOINT_EVERY, Setting, added_parts, run_all
from hfbench.execution.progress import progress
from hfbench.messages import count
from hfbench.parts import registry
from hfbench.parts.data_files import locate
from hfbench.records.locks import study_lock
from hfbench.records.recorded_study import gather
from hfbench.records.run_folder import RunFolder, prepare
from hfbench.report.conclusion import command_of, conclude, show
from hfbench.tracking.mlflow_store import Tracker
from hfbench.tracking.params import study_params
from hfbench.tracking.run_logger import Log


def run_study(
    study: Study,
    results: Path,
    jobs: int,
    data: str | None,
    console: Console,
    options: Sequence[str] = (),
    checkpoint_every: float = CHECKPOINT_EVERY,
    engine: Engine | None = None,
) -> int:
    """Runs what is not recorded yet and reports on all of it.

    Returns 0; 1 if some runs failed; 130 after Ctrl-C and 143 after SIGTERM.

    `options` are those of the command line that decide which runs belong to the study, for the report to repeat; the
    runs are made by `engine`, or so many at a time on this machine.
    The same command may be given again at any time: complete runs are not repeated, interrupted ones continue, failed
    ones are tried anew. Nobody need read what is printed. Raises HfbenchError before anything is written if the study
    cannot be run, as where another process is running it in the same folder.
    """
    results = Path(results)
    specs = {spec.key(): spec for spec in plan(study, data)}
    missing = missing_of(specs, results)
    if jobs > 1 or engine is not None:
        added_parts(missing.values())
    # The workers of a cluster may have a device that this machine has not: then they say what is wrong.
    preflight([spec for spec in missing.values() if engine is None or is_here(spec.device)], data)
    prepare(results)
    setting = Setting(results, study.name, data, checkpoint_every)
    with study_lock(results, study.name, "hfbench run"), unread_is_fine(console):
        missing = missing_of(specs, results)  # who held the lock before may have run some
        tracker = tracker_of(study, specs, results)
        console.print(_announcement(study, len(specs), len(missing), jobs), highlight=False, soft_wrap=True)
        try:
            with sigterm_interrupts():
                _carry_out(specs, missing, setting, tracker, console, lambda: run_all(missing, setting, jobs, engine))
                conclusion = conclude(gather(study, specs, results), tracker, command_of(study, options))
        except KeyboardInterrupt as interrupt:
            _close(tracker, "KILLED")
            console.print("Interrupted. The same command goes on where it stopped.")
            return TERMINATED if isinstance(interrupt, Terminated) else INTERRUPTED
        except BaseException:
            _close(tracker, "FAILED")
            raise
        show(conclusion, console)
    return 1 if conclusion.failed else 0


def missing_of(specs: Mapping[str, RunSpec], results: Path) -> dict[str, RunSpec]:
    return {key: spec for key, spec in specs.items() if not RunFolder(results, key).is_complete()}


def _carry_out(
    specs: Mapping[str, RunSpec],
    missing: Mapping[str, RunSpec],
    setting: Setting,
    tracker: Tracker,
    console: Console,
    carried_out: Callable[[], Iterable[dict[str, Any]]],
) -> None:
    """The runs that are missing, each logged as it ends, and a long one while it runs."""
    done = len(specs) - len(missing)
    log = Log(tracker, specs, setting, console)
    for key in specs:  # what ended before may not be logged under this study yet
        if key not in missing:
            log.ended(key)
    with log.follow(missing), progress(console, setting.results, missing, done, len(specs)) as report:
        for result in carried_out():
            report.ended(result)
            log.ended(result["key"])


def _close(tracker: Tracker, status: str) -> None:
    with suppress(Exception):  # the store may be what failed, and must not hide it
        tracker.close(status)


def tracker_of(study: Study, specs: Mapping[str, RunSpec], results: Path) -> Tracker:
    """The study's place in the MLflow store. Raises StoreError if that cannot be opened."""
    params = study_params(study, specs.values())
    return Tracker(results, study.name, study_key(study, specs, params), params)


def study_key(study: Study, keys: Iterable[str], params: Mapping[str, str]) -> str:
    """The identity of a set of runs and of how they are judged.

    Another seed, setting or version of the code makes another one, and so does another margin, level or baseline.
    """
    identity = [study.name, sorted(keys), sorted(params.items())]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]


def preflight(specs: Iterable[RunSpec], data: str | None) -> None:
    """Raises what would stop each method on each task at its first seed, before any run is begun.

    ConfigError for a device that is not there and for a batch larger than the data, DataError for missing files,
    NonFiniteError for a model whose outputs are not finite.
    """
    first: dict[tuple[str, str], RunSpec] = {}
    for spec in specs:
        first.setdefault((spec.task, spec.method.name), spec)
    for name in {spec.device for spec in first.values()}:  # before files are fetched that it would take
        device_of(name)
    for spec in first.values():
        for file in registry.get("task", spec.task_settings["use"]).files:
            if not file.optional:
                locate(file, data)
    by_task: dict[str, list[RunSpec]] = {}
    for spec in first.values():
        by_task.setdefault(spec.task, []).append(spec)
    for of_task in by_task.values():
        _check_first_runs(of_task, data)


def _check_first_runs(specs: Sequence[RunSpec], data: str | None) -> None:
    from hfbench.parts.protocols import BatchPlan
    from hfbench.runs.attempt import LiveRun, one_thread
    from hfbench.runs.build import load

    loaded = load(specs[0], data)
    with one_thread():
        for spec in specs:
            # Batches that are met again are checked with the method that they come from.
            live = LiveRun(spec, loaded, [BatchPlan(1, 1, "random", "")] if spec.follows else None)
            if spec is specs[0]:  # all methods of a seed begin with the same weights
                live.begin()


def _announcement(study: Study, total: int, missing: int, jobs: int) -> str:
    sizes = {"method": len(study.methods), "task": len(study.tasks), "seed": len(study.seeds)}
    uniform = math.prod(sizes.values()) == total  # no task has methods or seeds of its own
    product = " x ".join(count(n, name) for name, n in sizes.items() if uniform or name != "seed")
    already = f", {total - missing} recorded already" if missing < total else ""
    now = f", {min(jobs, missing)} at a time" if missing else ""
    runs = f"{product}{' =' if uniform else ':'} {count(total, 'run')}{already}{now}"
    return escape(f"{study.name}: {study.question}\n{runs}")
