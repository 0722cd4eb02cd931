"""Trials of a sweep in MLflow: each is a child of the sweep's run, with its settings and the result of every seed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console

from hfbench.config.search_ranges import searched
from hfbench.config.study import Study
from hfbench.config.sweep import extent_text
from hfbench.records.study_home import StudyHome
from hfbench.report.mlflow_page import write_status
from hfbench.sweep.retest import score
from hfbench.sweep.sampling import Params
from hfbench.sweep.trials import COMPLETE, Trial
from hfbench.sweep.tuning import TuningTask, log_of, mean
from hfbench.tracking.mlflow_store import Tracker
from hfbench.tracking.params import text
from hfbench.tracking.study_view import sweep_views


class TrialLogger:
    """Logs trials as they end; if logging fails, it is repeated at the end or by the next invocation."""

    def __init__(
        self, study: Study, tasks: Sequence[TuningTask], place: StudyHome, results: Path, console: Console
    ) -> None:
        self.console, self.study, speaks = console, study, place.speaks_for_the_study
        self.tracker = Tracker(results, study.name, sweep_params(study), by="hfbench sweep", speaks=speaks)
        there, identities = self.tracker.logged(), {task.identity for task in tasks}
        self.tracker.select([key for key in there if key.rpartition("-")[0] in identities])
        self.known = {key for key, child in there.items() if child.info.status == "FINISHED"}
        self.tracker.begin()
        sweep = study.sweeps[0]
        paths = dict.fromkeys(path for sweep in study.sweeps for path in sweep.parameters)
        self.views = sweep_views(self.tracker.parent, sweep.tasks, sweep.measures, list(paths))
        self.say("Under way")

    def say(self, status: str) -> None:
        """What becomes of the sweep, above its trials."""
        with suppress(Exception):  # no trouble with the page may end the sweep
            write_status(self.tracker, self.study, status, self.views)

    def ended(self, task: TuningTask, trial: Trial, first: Trial) -> None:
        key = f"{task.identity}-{trial.index}"
        if key in self.known:
            return
        try:
            name = f"{task.method.name}/{task.name}/trial-{trial.index}"
            tags = {"task": task.name, "method": task.method.name, "outcome": trial.state}
            self.tracker.log_trial(
                key, name, _params(task, trial.params, trial.index), _metrics(task, trial, first), tags
            )
            self.known.add(key)
        except Exception as error:  # the storage has the trial: a busy or unreachable MLflow must not end the sweep
            said = f"trial {trial.index}, {task.label}, is not in MLflow yet: {type(error).__name__}: {error}"
            self.console.print(said)


@contextmanager
def logged(
    study: Study, tasks: Sequence[TuningTask], place: StudyHome, results: Path, console: Console
) -> Iterator[TrialLogger]:
    """The logger of a sweep, whose run in MLflow is KILLED if the block is interrupted, FAILED if it raises."""
    log = TrialLogger(study, tasks, place, results, console)
    try:
        yield log
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        log.say("Interrupted" if interrupted else "Ended by an error")
        with suppress(Exception):  # likewise
            log.tracker.close("KILLED" if interrupted else "FAILED")
        raise


def sweep_params(study: Study) -> dict[str, str]:
    """Parameters of the sweep's run: the searched settings, sampler, pruner and seeds."""
    sweep = study.sweeps[0]
    plain = ("objectives", "sampler", "startup_trials", "pruner", "trials", "ahead", "seeds", "retest", "candidates")
    shown = {f"sweep.{name}": text(getattr(sweep, name)) for name in plain}
    shown["sweep.method"] = ", ".join(sweep.method for sweep in study.sweeps)
    if sweep.passes:
        shown["sweep.passes"] = extent_text(sweep)
    ranges = {
        ".".join(["range", *([sweep.method] if len(study.sweeps) > 1 else []), path]): searched(search)
        for sweep in study.sweeps
        for path, search in sweep.parameters.items()
    }
    return {"question": study.question, "tasks": ", ".join(sweep.tasks), **shown, **ranges}


def _params(task: TuningTask, params: Params, index: int) -> dict[str, str]:
    return {"task": task.name, "method": task.method.name, "trial": str(index)} | {
        path: text(value) for path, value in params.items()
    }


def _metrics(task: TuningTask, trial: Trial, first: Trial) -> dict[str, float]:
    """The objectives by seed, their geometric means, and the ratios to the first trial."""
    found: dict[str, float] = {"summary/seeds": len(trial.measures)}
    for measure in task.sweep.measures:
        found |= {f"{measure}/seed-{seed}": values[measure] for seed, values in trial.measures.items()}
        logs = {seed: log_of(values, measure) for seed, values in trial.measures.items()}
        found[f"summary/{measure}"] = math.exp(mean(logs))
    found["summary/ratio"] = math.exp(score(trial.measures, first.measures, task.sweep))
    found["summary/complete"] = float(trial.state == COMPLETE)
    return {name: value for name, value in found.items() if math.isfinite(value)}
