"""Loop of a sweep: tunes all tasks on one pool, then re-tests the best trials."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from hfbench.config.run_spec import RunSpec
from hfbench.execution.pool import Pool
from hfbench.interrupts import raise_if_interrupted
from hfbench.records.recorded_study import set_aside
from hfbench.records.run_folder import RunFolder
from hfbench.sweep.mlflow_log import TrialLogger
from hfbench.sweep.outcome import TaskOutcome
from hfbench.sweep.progress import Watcher
from hfbench.sweep.retest import candidates, select
from hfbench.sweep.tuning import Tuning, measures_of

PAUSE = 1.0  # seconds between two looks at what other processes have done


def tune(tunings: Sequence[Tuning], pool: Pool, watcher: Watcher, log: TrialLogger) -> None:
    """Makes the trials of all tasks, as many runs at a time as the pool takes."""
    owners: dict[str, Tuning] = {}
    while not all(tuning.over for tuning in tunings):
        raise_if_interrupted()
        for tuning in tunings:
            for key, spec in tuning.ready(pool.free):
                owners[key] = tuning
                _say_set_aside({key: spec}, pool, watcher)
                pool.submit(key, spec)
        if not pool.busy:
            if not all(tuning.over for tuning in tunings):
                time.sleep(PAUSE)  # for what other processes have begun
            continue
        result = pool.next()
        tuning = owners.pop(result["key"])
        trial = tuning.ended(result, _began(pool.setting.folder(result["key"]), result, tuning.task.study.target_on))
        if trial is not None:
            watcher.ended(tuning, trial)
            log.ended(tuning.task, trial, tuning.all[0])


def retest(tuning: Tuning, pool: Pool, watcher: Watcher) -> TaskOutcome:
    """Runs the best trials and the untuned method on the fresh seeds, and freezes one."""
    task, sweep, trials = tuning.task, tuning.sweep, tuning.all
    chosen = candidates(trials, sweep)
    specs = {
        spec.key(): (trial.index, spec)
        for seed in sweep.retest
        for trial in [trials[0], *chosen]
        for spec in [task.spec(trial.params, seed)]
    }
    again: dict[int, dict[int, dict[str, float]]] = {trial.index: {} for trial in [trials[0], *chosen]}
    _say_set_aside({key: spec for key, (_, spec) in specs.items()}, pool, watcher)
    done = sum(pool.setting.folder(key).is_complete() for key in specs)
    watcher.retests(tuning, len(specs), done)
    for result in pool.results({key: spec for key, (_, spec) in specs.items()}):
        index, spec = specs[result["key"]]
        if result["outcome"] != "failed":
            began = _began(pool.setting.folder(result["key"]), result, task.study.target_on)
            again[index][spec.seed] = measures_of(result, spec, sweep.measures, began)
        watcher.retested(tuning)
        raise_if_interrupted()
    complete = [trial for trial in chosen if len(again[trial.index]) == len(sweep.retest)]
    single = len(sweep.objectives) == 1
    return TaskOutcome(task, trials, select(complete, again, trials[0], sweep) if single else None, again)


def _say_set_aside(specs: Mapping[str, RunSpec], pool: Pool, watcher: Watcher) -> None:
    """Sets the damaged records of these runs aside, with a line for each."""
    for line in set_aside(specs, pool.setting.results):
        watcher.say(line)


def _began(folder: RunFolder, result: Mapping[str, Any], target_on: str) -> float:
    """The initial error of a run on the cases that decide."""
    return float(folder.rows()[0][f"{target_on}_error"]) if result["outcome"] == "diverged" else float("nan")
