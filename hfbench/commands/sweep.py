"""A whole sweep: tune on seeds A, test the best again on seeds B, freeze, and compare what was frozen on seeds C."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from hfbench.config.study import Study
from hfbench.errors import ConfigError
from hfbench.execution.broken_pipe import unread_is_fine
from hfbench.execution.interrupts import INTERRUPTED, TERMINATED, Terminated, sigterm_interrupts
from hfbench.execution.part_shipping import added_parts
from hfbench.execution.pool import Pool
from hfbench.execution.preflight import preflight
from hfbench.records.files import prepare
from hfbench.records.locks import study_lock
from hfbench.records.results_folder import Setting
from hfbench.sweep.conclusion import conclude
from hfbench.sweep.loop import retest, tune
from hfbench.sweep.mlflow_log import SweepLog
from hfbench.sweep.progress import watching
from hfbench.sweep.trials import Trials
from hfbench.sweep.tuning import Task, Tuning


def sweep_study(
    study: Study,
    results: Path,
    jobs: int,
    data: str | None,
    console: Console,
    storage: str | None = None,
    options: Sequence[str] = (),
) -> int:
    """Runs the trials that are missing, tests again, freezes, compares and reports.

    Returns 0; 1 if some runs of the comparison failed; 130 after Ctrl-C and 143 after SIGTERM. The same command goes on
    where it was interrupted. `storage` is an Optuna URL in place of `<results>/sweeps.db`; several processes, each with
    results of its own, may work on one sweep in it. `options` are those of the command line, for the report to repeat.

    Raises HfbenchError before anything is run if the study has no sweep or cannot be run.
    """
    if study.sweep is None:
        raise ConfigError(
            f"{study.name} has no [sweep] table, which says what to tune; `hfbench run` compares its methods."
        )
    results = Path(results).absolute()
    tasks = [Task(study, name, data) for name in study.sweep.tasks]
    first = [task.spec(task.first, study.sweep.seeds[0]) for task in tasks]
    parts = added_parts(first) if jobs > 1 else []
    preflight(first, data)
    prepare(results)
    with study_lock(results, study.name, "hfbench sweep"), unread_is_fine(console), ExitStack() as stack:
        stack.enter_context(sigterm_interrupts())
        try:
            url = storage or f"sqlite:///{results / 'sweeps.db'}"
            pool = stack.enter_context(Pool(Setting(results, study.name, data), jobs, parts))
            opened = [stack.enter_context(_trials(task, url, results)) for task in tasks]
            log = SweepLog(study, tasks, results, console)
            tunings = [Tuning(task, trials) for task, trials in zip(tasks, opened, strict=True)]
            with watching(console, tunings) as watcher:
                tune(tunings, pool, watcher, log)
                found = [retest(tuning, pool, watcher) for tuning in tunings]
        except KeyboardInterrupt as interrupt:
            console.print("Interrupted. The same command goes on where it stopped.")
            return TERMINATED if isinstance(interrupt, Terminated) else INTERRUPTED
    return conclude(study, found, log, results, jobs, data, console, options)


def _trials(task: Task, url: str, results: Path) -> Trials:
    name = f"{task.study.name}/{task.name}/{task.identity}"
    return Trials(url, name, results, f"{socket.gethostname()}:{results}", len(task.sweep.objectives))
