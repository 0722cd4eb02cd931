"""A whole sweep: tune on seeds A, test the best again on seeds B, freeze, and compare what was frozen on seeds C."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from hfbench.commands.run import preflight
from hfbench.config.load import Study
from hfbench.errors import ConfigError
from hfbench.execution.broken_pipe import unread_is_fine
from hfbench.execution.interrupts import INTERRUPTED, TERMINATED, Terminated, sigterm_interrupts
from hfbench.execution.pool import Pool, Setting, added_parts
from hfbench.records.locks import study_lock
from hfbench.records.run_folder import RunFolder, prepare
from hfbench.sweep.conclusion import conclude
from hfbench.sweep.mlflow_log import SweepLog
from hfbench.sweep.outcome import Swept
from hfbench.sweep.progress import Watcher, watching
from hfbench.sweep.retest import candidates, freeze
from hfbench.sweep.trials import Trials
from hfbench.sweep.tuning import Task, Tuning, measures_of

PAUSE = 1.0  # seconds between two looks at what other processes have done


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


def tune(tunings: Sequence[Tuning], pool: Pool, watcher: Watcher, log: SweepLog) -> None:
    """Makes the trials of all tasks, as many runs at a time as the pool takes."""
    owners: dict[str, Tuning] = {}
    while not all(tuning.over for tuning in tunings):
        for tuning in tunings:
            for key, spec in tuning.ready(pool.free):
                owners[key] = tuning
                pool.submit(key, spec)
        if not pool.busy:
            if not all(tuning.over for tuning in tunings):
                time.sleep(PAUSE)  # for what other processes have begun
            continue
        result = pool.next()
        tuning = owners.pop(result["key"])
        trial = tuning.ended(result, _began(pool.setting.folder(result["key"]), result))
        if trial is not None:
            watcher.ended(tuning, trial)
            log.ended(tuning.task, trial, tuning.all[0])


def retest(tuning: Tuning, pool: Pool, watcher: Watcher) -> Swept:
    """Runs the best trials, and the method as it stands, on the fresh seeds, and freezes one."""
    task, sweep, trials = tuning.task, tuning.sweep, tuning.all
    chosen = candidates(trials, sweep)
    specs = {
        spec.key(): (one.index, spec)
        for seed in sweep.retest
        for one in [trials[0], *chosen]
        for spec in [task.spec(one.params, seed)]
    }
    again: dict[int, dict[int, dict[str, float]]] = {one.index: {} for one in [trials[0], *chosen]}
    done = sum(pool.setting.folder(key).is_complete() for key in specs)
    watcher.retests(tuning, len(specs), done)
    for result in pool.results({key: spec for key, (_, spec) in specs.items()}):
        index, spec = specs[result["key"]]
        if result["outcome"] != "failed":
            began = _began(pool.setting.folder(result["key"]), result)
            again[index][spec.seed] = measures_of(result, spec, sweep.measures, began)
        watcher.retested(tuning)
    complete = [one for one in chosen if len(again[one.index]) == len(sweep.retest)]
    single = len(sweep.objectives) == 1
    return Swept(task, trials, freeze(complete, again, trials[0], sweep) if single else None, again)


def _began(folder: RunFolder, result: Mapping[str, Any]) -> float:
    """The test error that a run began with."""
    return float(folder.rows()[0]["test_error"]) if result["outcome"] == "diverged" else float("nan")
