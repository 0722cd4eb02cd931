"""Retest: the best trials of a sweep run again on new seeds, and one frozen.

The best of many noisy scores looks better than it is. The optimism is the loss of the tuning's winner in the re-test.
This estimate is unbiased, since the fresh seeds took no part in the choice. The frozen setting is the best in the
re-test; its score there is again a little too good. The comparison on the study's seeds gives its value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hfbench.config.sweep import Sweep
from hfbench.sweep.sampling import Params
from hfbench.sweep.trials import COMPLETE, Trial
from hfbench.sweep.tuning import Measures, feasible, mean, observation_of, relative


@dataclass(frozen=True)
class Candidate:
    """A re-tested trial. Scores are mean log ratios of the objective to the untuned method."""

    index: int
    params: Params
    tuning: float
    retest: float
    excess: float  # of the constraint, when tested again

    def to_row(self) -> dict[str, Any]:
        return {
            "trial": self.index, "tuning_ratio": math.exp(self.tuning), "retest_ratio": math.exp(self.retest),
            "holds": self.excess <= 0, **self.params,
        }  # fmt: skip


@dataclass(frozen=True)
class Winner:
    """Result of the sweep of one task."""

    index: int
    params: Params
    candidates: Sequence[Candidate]

    @property
    def kept(self) -> bool:
        """True if no candidate was better than the untuned method, which is then kept."""
        return self.index == 0

    @property
    def optimism(self) -> float:
        """Tuning score of the winner minus its re-test score (a log ratio); below 0 the tuning looked too good."""
        winner = min(self.candidates, key=lambda one: (one.tuning, one.index))
        return winner.tuning - winner.retest


def candidates(trials: Mapping[int, Trial], sweep: Sweep) -> list[Trial]:
    """The best complete trials that keep the constraint, the best first. The first trial is not among them.

    With several objectives these are the trials of the front, by the first objective; if too many, evenly spread.
    """
    first = trials[0]
    complete = [trial for trial in trials.values() if trial.state == COMPLETE and trial.index > 0]
    kept = [trial for trial in complete if feasible(trial, first, sweep)]
    ranked = sorted(kept, key=lambda one: (score(one.measures, first.measures, sweep), one.index))
    if len(sweep.objectives) == 1 or not ranked:
        return ranked[: sweep.candidates]
    values = {trial.index: observation_of(trial, first, sweep).values or () for trial in ranked}
    best = [trial for trial in ranked if not any(beats(other, values[trial.index]) for other in values.values())]
    many = min(sweep.candidates, len(best))
    return [best[round(index * (len(best) - 1) / max(1, many - 1))] for index in range(many)]


def beats(one: Sequence[float], other: Sequence[float]) -> bool:
    """True if no objective is worse and one is better."""
    return tuple(one) != tuple(other) and all(a <= b for a, b in zip(one, other, strict=True))


def score(measures: Measures, first: Measures, sweep: Sweep) -> float:
    return mean(relative(measures, first, sweep.objectives[0]))


def select(chosen: Sequence[Trial], again: Mapping[int, Measures], first: Trial, sweep: Sweep) -> Winner:
    """The best trial in the re-test, or the first trial if none is better; `again` is by index."""
    base = again[0]
    tested = [
        Candidate(
            index=trial.index,
            params=trial.params,
            tuning=score(trial.measures, first.measures, sweep),
            retest=score(again[trial.index], base, sweep),
            excess=_excess(again[trial.index], base, sweep),
        )
        for trial in chosen
    ]
    better = [candidate for candidate in tested if candidate.retest < 0 and candidate.excess <= 0]
    best = min(better, key=lambda one: (one.retest, one.index), default=None)
    return Winner(best.index if best else 0, best.params if best else first.params, tested)


def _excess(measures: Measures, base: Measures, sweep: Sweep) -> float:
    if sweep.constraint is None:
        return 0.0
    return mean(relative(measures, base, sweep.constraint.measure)) - math.log(sweep.constraint.at_most)
