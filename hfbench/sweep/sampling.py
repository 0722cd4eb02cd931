"""Sampling and pruning of trials (Optuna) as pure functions of the earlier trials.

Optuna's samplers and pruner are built anew for every trial, from the trials that have ended by then and a seed made of
the sweep's identity and the trial's index. Their answers depend on nothing else: neither on the number of workers, nor
on interruptions of the sweep.
"""

from __future__ import annotations

import hashlib
import random
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from hfbench.config.sweep import PRUNING_P, STARTUP, Sweep
from hfbench.parts.hyperparameters import Choice, Integers, Log, Search

if TYPE_CHECKING:
    from collections.abc import Iterator

    import optuna

Params = Mapping[str, Any]

LEARNING = ("gp", "tpe")


@dataclass(frozen=True)
class Observation:
    """A trial as the sampler sees it: its settings and its score, to be minimised."""

    params: Params
    values: tuple[float, ...] | None  # one for each objective; None while it is under way
    excess: float = 0.0  # of the constraint: it holds up to 0


def suggest(sweep: Sweep, seen: Sequence[Observation], identity: str, index: int) -> dict[str, Any]:
    """The settings of the trial with that index, from 1 on; trial 0 is the untuned method.

    `seen` are the trials that have ended and those that are running, which the samplers avoid.
    """
    if sweep.sampler == "grid":
        return grid(sweep.parameters, seen[0].params)[index - 1]
    import optuna

    with quietly():
        study = optuna.create_study(
            directions=["minimize"] * len(sweep.objectives), sampler=_sampler(sweep, draw_seed(identity, index))
        )
        space = distributions(sweep.parameters)
        for observation in seen:
            study.add_trial(trial_of(observation, space))
        return dict(study.ask(space).params)


def sampler_text(sweep: Sweep) -> str:
    """What draws the settings of a sweep's trials: `gp from trial 13 on, random before`.

    Trial i is suggested from the trials up to i − `ahead`.
    """
    if sweep.sampler not in LEARNING:
        return sweep.sampler
    first = sweep.startup_trials - 1 + sweep.ahead
    if sweep.trials <= first:
        return f"random, since {sweep.sampler} takes over at trial {first}"
    return f"{sweep.sampler} from trial {first} on, random before"


def grid(parameters: Mapping[str, Search], first: Params) -> list[dict[str, Any]]:
    """All combinations of the values except that of the first trial."""
    values = {path: search.values for path, search in parameters.items() if isinstance(search, Choice)}
    combinations = (dict(zip(values, chosen, strict=True)) for chosen in product(*values.values()))
    return [combination for combination in combinations if combination != dict(first)]


def is_hopeless(scores: Mapping[int, float], best: Mapping[int, float]) -> bool:
    """True if a trial is worse than the best so far on its seeds, by Optuna's one-sided Wilcoxon pruner.

    Scores are by seed, to be minimised. The test after every seed is not corrected for repetition: losing a good trial
    now and then costs less than completing bad ones.
    """
    import optuna

    with quietly():
        pruner = optuna.pruners.WilcoxonPruner(p_threshold=PRUNING_P, n_startup_steps=STARTUP)
        study = optuna.create_study(pruner=pruner)
        mean = sum(best.values()) / len(best)
        study.add_trial(optuna.trial.create_trial(value=mean, intermediate_values=dict(best)))
        trial = study.ask()
        for seed, score in scores.items():
            trial.report(score, step=seed)
        return trial.should_prune()


def seed_order(seeds: Sequence[int], identity: str, index: int) -> list[int]:
    """The order of a trial's seeds; it differs between trials, or pruning would depend on the same few seeds."""
    order = list(seeds)
    random.Random(draw_seed(identity, index)).shuffle(order)
    return order


def draw_seed(identity: str, index: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{identity}/{index}".encode()).digest()[:4])


# ---------------------------------------------------------------- Optuna's terms


def distributions(parameters: Mapping[str, Search]) -> dict[str, optuna.distributions.BaseDistribution]:
    return {path: _distribution(search) for path, search in parameters.items()}


def _distribution(search: Search) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(search, Choice):
        return CategoricalDistribution(search.values)  # type: ignore[arg-type]
    if isinstance(search, Integers):
        return IntDistribution(search.low, search.high, log=search.log)
    return FloatDistribution(search.low, search.high, log=isinstance(search, Log))


def trial_of(one: Observation, space: Mapping[str, optuna.distributions.BaseDistribution]) -> optuna.trial.FrozenTrial:
    from optuna.trial import TrialState, create_trial

    if one.values is None:
        return create_trial(state=TrialState.RUNNING, params=dict(one.params), distributions=dict(space))
    return create_trial(
        values=one.values, params=dict(one.params), distributions=dict(space), constraints={"excess": one.excess}
    )


def _sampler(sweep: Sweep, seed: int) -> optuna.samplers.BaseSampler:
    from optuna import samplers

    if sweep.sampler == "gp":
        return samplers.GPSampler(seed=seed, n_startup_trials=sweep.startup_trials)
    if sweep.sampler == "tpe":
        return samplers.TPESampler(seed=seed, n_startup_trials=sweep.startup_trials)
    return samplers.RandomSampler(seed=seed)


@contextmanager
def quietly() -> Iterator[None]:
    """Silences Optuna's report of every trial and its warnings about experimental features."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
