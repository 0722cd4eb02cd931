"""Tuning of a method on one task: the runs that can start now, and the state of its trials.

Trial i is suggested when the trials up to i − `ahead` have ended, from these alone, and pruned against the best of
them. So the trials, their seeds and their ends are the same for any number of workers and after any interruption.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hfbench.config.key_paths import value_at, with_values
from hfbench.config.measures import MEASURES
from hfbench.config.methods import Method
from hfbench.config.run_spec import RunSpec
from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of
from hfbench.config.sweep import STARTUP, Sweep
from hfbench.errors import ConfigError, StoreError
from hfbench.parts.families import fitted_name
from hfbench.parts.hyperparameters import Choice
from hfbench.sweep.sampling import Observation, distributions, is_hopeless, seed_order, suggest
from hfbench.sweep.trials import COMPLETE, FAILED, PRUNED, RUNNING, TakenOver, Trial, Trials

Measures = Mapping[int, Mapping[str, float]]  # by seed
SECONDS, PASSES = "seconds", "passes"  # beside the measures: what a run took
MISSED = "budget times last error over target"  # the cost of a run that missed its target, here as `measures_of` has it


class TuningTask:
    """Plan of a method's sweep on one task, fixed beforehand.

    Its `label` is the task's name, where several methods are tuned with the method's; `file_name` is one for files.
    """

    def __init__(self, study: Study, sweep: Sweep, task: str, data: str | None) -> None:
        self.study, self.sweep, self.name, self.data = study, sweep, task, data
        several = len(study.sweeps) > 1
        self.label = f"{sweep.method} on {task}" if several else task
        self.file_name = fitted_name(f"{sweep.method}-{task}") if several else task
        self.method = study.method_on(task, sweep.method)
        self.first = {path: value_at(self.method, path) for path in self.sweep.parameters}
        self.identity = _identity(self.sweep, self.spec(self.first, self.sweep.seeds[0]))

    def method_of(self, params: Mapping[str, Any]) -> Method:
        """The method with these settings, named after them. The untuned method keeps its name, and so its runs."""
        if dict(params) == self.first:
            return self.method
        digest = hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:8]
        return with_values(self.method, params, f"{self.method.name[:50]}_{digest}")

    def spec(self, params: Mapping[str, Any], seed: int) -> RunSpec:
        """The run of these settings at a seed, as in a study."""
        method = self.method_of(params)
        on = replace(self.study.on[self.name], methods=(method.name,), seeds=(seed,), settings={})
        tasks = {self.name: self.study.tasks[self.name]}
        (spec,) = runs_of(
            replace(self.study, tasks=tasks, methods={method.name: method}, on={self.name: on}), self.data
        )
        return spec


def _identity(sweep: Sweep, first: RunSpec) -> str:
    """Identity of a sweep on a task: its settings, and the version of the numerics."""
    plain = asdict(sweep) | {"parameters": {path: _plain(search) for path, search in sweep.parameters.items()}}
    for name in ("tasks", "retest", "candidates", "trials", "hours", "passes", "carry_over"):  # it may be extended
        del plain[name]
    return hashlib.sha256(json.dumps([plain, MISSED, first.key()], sort_keys=True).encode()).hexdigest()[:16]


def _plain(search: Any) -> Any:
    return list(search.values) if isinstance(search, Choice) else [type(search).__name__, asdict(search)]


# ---------------------------------------------------------------- what a run comes to


def measures_of(result: Mapping[str, Any], spec: RunSpec, measures: Sequence[str], began: float) -> dict[str, float]:
    """The measures of an ended run, seconds and passes; to be minimised, and positive but for an error of 0.

    If the target was not reached, its cost counts as the budget, or as the amount spent if the budget has no limit on
    it, times the last error over the target: so a sampler sees which of two misses was the nearer one. The error of a
    diverged run counts as `began`, its initial value; with an error comes its resolution.
    Raises ConfigError for a cost that is not positive.
    """
    found = {SECONDS: float(result["seconds"]), PASSES: float(result["work"])}
    for measure in measures:
        value = result.get(measure)
        if MEASURES[measure].is_cost:
            limit = spec.budget.get(MEASURES[measure].limit, result[MEASURES[measure].spent])
            value = limit * _shortfall(result, spec, began) if value is None else min(value, limit)
            if value <= 0:
                raise ConfigError(
                    f"{measure}: costs must be positive to form ratios, but got {value:g} ({spec.name}). Set "
                    "sweep.objective to another cost."
                )
        else:
            value = _error(result, measure, began)
        found[measure] = float(value)
    for name in {MEASURES[measure].resolution for measure in measures} & result.keys():
        if result[name]:
            found[name] = float(result[name])
    return found


def _shortfall(result: Mapping[str, Any], spec: RunSpec, began: float) -> float:
    """The last error of a run that missed its target, over that target; 1 where no ratio of them can be formed."""
    error = _error(result, f"final_{spec.target_on}_error", began)
    return max(1.0, error / spec.target) if spec.target > 0 and math.isfinite(error) else 1.0


def _error(result: Mapping[str, Any], name: str, began: float) -> float:
    """An error or the like of an ended run; of one that diverged, `began`."""
    value = result.get(name)
    return began if value is None or not math.isfinite(value) else float(value)


def above_zero(values: Mapping[str, float], measure: str) -> float:
    """A run's measure, of which a logarithm can be taken: a 0 counts as the resolution, below which it lies.

    A run whose error was 0 from the beginning has no resolution, and so has every run of its seed: their 0 is 1.
    """
    return values[measure] or values.get(MEASURES[measure].resolution, 1.0)


def log_of(values: Mapping[str, float], measure: str) -> float:
    return math.log(above_zero(values, measure))


def relative(trial: Measures, first: Measures, measure: str) -> dict[int, float]:
    """log(measure / measure of the first trial) by seed, on the trial's seeds."""
    return {
        seed: math.log(above_zero(values, measure) / above_zero(first[seed], measure))
        for seed, values in trial.items()
        if seed in first
    }


def spent(trial: Trial, name: str) -> float:
    """Seconds or passes of a trial's runs."""
    return sum(values[name] for values in trial.measures.values())


def mean(values: Mapping[int, float]) -> float:
    return sum(values.values()) / len(values) if values else math.nan


def observation_of(trial: Trial, first: Trial, sweep: Sweep) -> Observation:
    """The observation of a trial that has ended, relative to the first."""
    values = tuple(mean(relative(trial.measures, first.measures, objective)) for objective in sweep.objectives)
    bound = sweep.constraint
    excess = 0.0
    if bound is not None:
        excess = mean(relative(trial.measures, first.measures, bound.measure)) - math.log(bound.at_most)
    return Observation(trial.params, values, excess)


def feasible(trial: Trial, first: Trial, sweep: Sweep) -> bool:
    return observation_of(trial, first, sweep).excess <= 0


# ---------------------------------------------------------------- the loop of one task


@dataclass
class Open:
    """A trial that this process works on."""

    trial: Trial
    order: list[int]
    measures: dict[int, Mapping[str, float]]
    begun: set[int] = field(default_factory=set)

    @property
    def known(self) -> int:
        """Number of leading seeds, in the trial's order, that have ended."""
        return next((index for index, seed in enumerate(self.order) if seed not in self.measures), len(self.order))


class Tuning:
    """The running tuning of one task."""

    def __init__(self, task: TuningTask, trials: Trials) -> None:
        self.task, self.sweep, self.trials = task, task.sweep, trials
        self.space = distributions(self.sweep.parameters)
        self.open: dict[int, Open] = {}
        self.runs: dict[str, tuple[int, int]] = {}  # index and seed of the runs under way, by key
        self.all = self._known()

    def _known(self) -> dict[int, Trial]:
        """The trials of the sweep; the storage may hold more, from an earlier, longer sweep."""
        return {index: trial for index, trial in self.trials.all().items() if index < self.sweep.trials}

    @property
    def over(self) -> bool:
        """True if all trials of the sweep have ended."""
        return not self.open and all(trial.ended for trial in self.all.values()) and not self._more()

    def ready(self, wanted: int) -> list[tuple[str, RunSpec]]:
        """Up to that many runs that can start now, those of the earliest trials first."""
        self.trials.fail_the_silent()
        self.all = self._known()
        self._take_up()
        found: list[tuple[str, RunSpec]] = []
        while len(found) < wanted:
            began = next(self._next_runs(), None)
            if began is not None:
                found.append(began)
            elif not self._begin():
                break
        return found

    def ended(self, result: Mapping[str, Any], began: float) -> Trial | None:
        """Records the result of a run; returns its trial if that has now ended."""
        index, seed = self.runs.pop(result["key"])
        open_ = self.open.get(index)
        if open_ is None:  # it has ended meanwhile
            return None
        try:
            return self._taken_in(open_, seed, result, began)
        except TakenOver:
            del self.open[index]
            return None

    def _taken_in(self, open_: Open, seed: int, result: Mapping[str, Any], began: float) -> Trial | None:
        if result["outcome"] == "failed":
            return self._end(open_, FAILED, f"seed {seed}: {result['error']}")
        spec = self.task.spec(open_.trial.params, seed)
        open_.measures[seed] = measures_of(result, spec, self.sweep.measures, began)
        self.trials.record(open_.trial, seed, open_.measures[seed], log_of(open_.measures[seed], self._objective))
        return self._decide(open_)

    # ------------------------------------------------------------ runs

    def _next_runs(self) -> Iterator[tuple[str, RunSpec]]:
        for index in sorted(self.open):
            open_ = self.open[index]
            for seed in open_.order[: self._allowed(open_)]:
                if seed not in open_.measures and seed not in open_.begun:
                    spec = self.task.spec(open_.trial.params, seed)
                    key = spec.key()
                    if key in self.runs:  # of a trial with the same settings: it ends first, and its record is read
                        continue
                    open_.begun.add(seed)
                    self.runs[key] = index, seed
                    yield key, spec

    def _allowed(self, open_: Open) -> int:
        """Number of a trial's seeds that may have started, without those that the pruner may still save."""
        if self.sweep.pruner == "none" or open_.trial.index < self.sweep.ahead:
            return len(open_.order)
        return max(STARTUP, open_.known + 1)

    # ------------------------------------------------------------ trials

    def _before(self, index: int) -> list[Trial] | None:
        """The trials that trial `index` depends on, or None if they have not all ended."""
        before = [self.all.get(number) for number in range(index - self.sweep.ahead + 1)]
        return (
            None if any(trial is None or not trial.ended for trial in before) else [trial for trial in before if trial]
        )

    def _more(self) -> bool:
        """True if another trial is to be started."""
        index = len(self.all)
        if index >= self.sweep.trials:
            return False
        done = [self.all[number] for number in range(index - self.sweep.ahead + 1) if number in self.all]
        limits = {
            SECONDS: 3600 * (self.sweep.hours or math.inf),
            PASSES: self.sweep.passes.get(self.task.name, math.inf),
        }
        # Those under way, whose cost must not decide, count as the mean of those that have ended.
        share = index / len(done) if done else 0.0
        return all(share * self.spent(done, name) < limit for name, limit in limits.items())

    def spent(self, trials: Sequence[Trial], name: str) -> float:
        """What ended trials took. A failed one counts as the first: its runs tell little, and a sweep must end."""
        first = spent(self.all[0], name) if trials else 0.0
        return sum(first if trial.state == FAILED else spent(trial, name) for trial in trials)

    def _begin(self) -> bool:
        """Starts the next trial, if there is one and those it depends on have ended."""
        index = len(self.all)
        before = self._before(index)
        if before is None or not self._more():
            return False
        params = self.task.first if index == 0 else self._suggested(index, before)
        trial = self.trials.begin(index, params, self.space)
        self.all = self._known()
        if trial is not None:
            self._opened(trial)
        return True

    def _suggested(self, index: int, before: Sequence[Trial]) -> dict[str, Any]:
        first = self.all[0]
        ended = [observation_of(trial, first, self.sweep) for trial in before if trial.state != FAILED]
        pending = [Observation(self.all[number].params, None) for number in range(len(before), index)]
        return suggest(self.sweep, [*ended, *pending], self.task.identity, index)

    def _take_up(self) -> None:
        """Resumes trials that a dead process left behind."""
        for index, trial in self.all.items():
            left = trial.gone or (trial.state == RUNNING and trial.home == self.trials.home)
            if left and index not in self.open:
                taken = self.trials.take_up(trial, self.space)
                if taken is not None:
                    self._opened(taken)
        self.all = self._known()

    def _opened(self, trial: Trial) -> None:
        order = seed_order(self.sweep.seeds, self.task.identity, trial.index)
        self.open[trial.index] = open_ = Open(trial, order, dict(trial.measures))
        self._decide(open_)

    def _decide(self, open_: Open) -> Trial | None:
        """Ends a trial that has all its seeds or is hopeless, and returns it then."""
        if open_.known == len(open_.order):
            return self._end(open_, COMPLETE)
        return self._end(open_, PRUNED) if self._hopeless(open_) else None

    def _hopeless(self, open_: Open) -> bool:
        if self.sweep.pruner == "none" or open_.known < STARTUP:
            return False
        best = self._best(open_.trial.index)
        if best is None:
            return False
        scores = {seed: log_of(open_.measures[seed], self._objective) for seed in open_.order[: open_.known]}
        of_best = {seed: log_of(values, self._objective) for seed, values in best.measures.items()}
        return is_hopeless(scores, of_best)

    def _best(self, index: int) -> Trial | None:
        """The best complete and allowed trial among those that trial `index` depends on, if any."""
        first = self.all[0]
        complete = [
            trial
            for trial in self._before(index) or []
            if trial.state == COMPLETE and feasible(trial, first, self.sweep)
        ]
        return min(
            complete,
            key=lambda one: (mean(relative(one.measures, first.measures, self._objective)), one.index),
            default=None,
        )

    def _end(self, open_: Open, state: str, why: str = "") -> Trial:
        index = open_.trial.index
        logs = [
            [log_of(values, objective) for values in open_.measures.values()] for objective in self.sweep.objectives
        ]
        values = [sum(of_objective) / len(of_objective) for of_objective in logs if of_objective]
        self.trials.end(open_.trial, state, values, why)
        del self.open[index]
        self.all = self._known()
        if state == FAILED and index == 0:
            raise StoreError(f"the untuned {self.task.method.name} fails on {self.task.name}: {why}.")
        return self.all[index]

    @property
    def _objective(self) -> str:
        return self.sweep.objectives[0]
