"""Trials of a sweep as plain rows, for files, figures and MLflow, and statistics of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hfbench.config.sweep import Sweep
from hfbench.parts.hyperparameters import Choice, Log, Search
from hfbench.sweep.retest import beats
from hfbench.sweep.sampling import Observation, distributions, quietly, trial_of
from hfbench.sweep.trials import COMPLETE, FAILED, Trial
from hfbench.sweep.tuning import Measures, observation_of, relative

OF_A_MISS = "counts as the budget times its last error over the target"  # in captions
LEAST_TRIALS = 10  # fewer say nothing of importance
EDGE = 0.05  # of a range: a best setting so close to its end may lie beyond it


@dataclass(frozen=True)
class Point:
    """A completed or pruned trial for the figures: ratios to the first trial, one for each objective."""

    index: int
    params: Mapping[str, Any]
    state: str
    ratios: tuple[float, ...]
    by_seed: Mapping[int, float]  # of the first objective
    allowed: bool  # the constraint holds

    @property
    def complete(self) -> bool:
        return self.state == COMPLETE


def points(trials: Mapping[int, Trial], sweep: Sweep) -> list[Point]:
    """The trials that have a score, in order."""
    first, found = trials[0], []
    for index, trial in sorted(trials.items()):
        if trial.state == FAILED or not trial.measures:
            continue
        scored = observation_of(trial, first, sweep)
        by_seed = relative(trial.measures, first.measures, sweep.objectives[0])
        found.append(
            Point(
                index=index,
                params=trial.params,
                state=trial.state,
                ratios=tuple(math.exp(value) for value in scored.values or ()),
                by_seed={seed: math.exp(value) for seed, value in by_seed.items()},
                allowed=scored.excess <= 0,
            )
        )
    return found


def trial_rows(
    method: str, task: str, trials: Mapping[int, Trial], again: Mapping[int, Measures]
) -> list[dict[str, Any]]:
    """Rows of all measurements, one per stage, trial and seed, and one for a trial without seeds.

    The stages are "tuning" and "again", the re-test.
    """
    table = []
    for index, trial in sorted(trials.items()):
        of_trial = {
            "method": method,
            "task": task,
            "trial": index,
            "state": trial.state,
            "why": trial.why,
            **trial.params,
        }
        for stage, measures in (("tuning", trial.measures), ("again", again.get(index, {}))):
            seeds = [{"stage": stage, "seed": seed, **values} for seed, values in sorted(measures.items())]
            table += [{**of_trial, **row} for row in seeds or [{"stage": stage}] if seeds or stage == "tuning"]
    return table


def front(shown: Sequence[Point]) -> list[Point]:
    """The complete and allowed points that no other one beats in every objective, sorted by the first objective."""
    able = [point for point in shown if point.complete and point.allowed]
    best = [point for point in able if not any(beats(other.ratios, point.ratios) for other in able)]
    return sorted(best, key=lambda one: one.ratios)


def importances(shown: Sequence[Point], parameters: Mapping[str, Search]) -> dict[str, dict[str, float]]:
    """Share of each setting, by evaluator.

    fANOVA gives the share of the score's variance over the whole range, PED-ANOVA the share in separating the best
    tenth of the trials from the rest. Empty if there are too few trials or settings.

    """
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

    if len(shown) < LEAST_TRIALS or len(parameters) < 2:
        return {}
    space = distributions(parameters)
    with quietly():
        study = optuna.create_study()
        for point in shown:
            study.add_trial(trial_of(Observation(point.params, (math.log(point.ratios[0]),)), space))
        evaluators = {"fANOVA": FanovaImportanceEvaluator(seed=0), "PED-ANOVA": PedAnovaImportanceEvaluator()}
        found = {}
        for name, evaluator in evaluators.items():
            try:
                shares = get_param_importances(study, evaluator=evaluator)
            except (RuntimeError, ValueError):  # all scores alike, or all of the best alike
                continue
            found[name] = {path: float(shares.get(path, 0.0)) for path in parameters}
    return found


def at_ends(params: Mapping[str, Any], parameters: Mapping[str, Search]) -> dict[str, float]:
    """The settings in the outermost twentieth of their range, each with the end it is close to."""
    found = {}
    for path, search in parameters.items():
        if not isinstance(search, Choice):
            at = float(unit(params[path], search))
            if not EDGE < at < 1 - EDGE:
                found[path] = float(search.low if at <= EDGE else search.high)
    return found


def unit(values: Any, search: Search) -> Any:
    """Values of a setting on its search scale, from 0 at the lower end to 1; for a choice, their indices."""
    import numpy as np

    if isinstance(search, Choice):
        return np.asarray(values, dtype=float) / max(1, len(search.values) - 1)
    scale = np.log if is_log(search) else np.asarray
    low, high = scale(float(search.low)), scale(float(search.high))
    return (scale(np.asarray(values, dtype=float)) - low) / (high - low)


def is_log(search: Search) -> bool:
    return isinstance(search, Log) or bool(getattr(search, "log", False))
