"""Pairs of runs with one seed, read from the table of results, one row per run with the fields of `result.json`.

For seed s of a task, T is a run's cost to the target, as far as `run_costs.py` knows it:

    d_s = log(T_method / T_baseline),

within bounds where a run was cut off. For the test of a difference two runs tie that both missed the target within a
limit that all were given; ratio, interval and equivalence know nothing of such a pair. Only the two methods' own runs
are used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hfbench.config.measures import MEASURES, costs
from hfbench.errors import ConfigError
from hfbench.messages import did_you_mean, listed, quoted
from hfbench.statistics.bounds import Bounds
from hfbench.statistics.location_tests import TESTS, LocationTest
from hfbench.statistics.run_costs import (
    BY_ITS_METHOD,
    FAILED,
    REACHED,
    RunCost,
    column,
    costs_by_seed,
    log_bounds,
    on_one_hardware,
)

if TYPE_CHECKING:
    import pandas as pd

OUTCOMES = ("reached", "budget", "diverged", "failed")
LEAST_PAIRS = 6  # below, no exact two-sided p is under .05, and no interval has 95 %
WILCOXON = TESTS["wilcoxon"]


def least_p(n: int) -> float:
    """The smallest two-sided p that n differing pairs can give, 2^(1−n); 1 where there are too few for a p."""
    return 2.0 ** (1 - n) if n >= LEAST_PAIRS else 1.0


class PerSeed:
    """What a test makes of log ratios of costs, one per seed: `d`, and `within` the limit, where two misses tie."""

    d: Bounds
    within: Bounds

    @property
    def informative(self) -> int:
        """Seeds of which it is known who did better."""
        return int(((self.within.low > 0) | (self.within.high < 0)).sum())

    def p(self, test: LocationTest) -> float | None:
        """Two-sided; None with fewer than six informative seeds."""
        return min(1.0, 2 * min(self._sides(test))) if self.informative >= LEAST_PAIRS else None

    def side(self, test: LocationTest) -> int:
        """Which of the two one-sided p is the smaller: -1 where d is rather below 0, 1 where it is rather above."""
        below, above = self._sides(test)
        return (above < below) - (below < above)

    def _sides(self, test: LocationTest) -> tuple[float, float]:
        return test.below(self.within), test.below(-self.within)

    @property
    def least_p(self) -> float:
        """No p of these seeds can be smaller, had all of whom it is known the same sign; 1 where p is None."""
        return least_p(self.informative)

    def p_equivalent(self, test: LocationTest, margin: float) -> float | None:
        """Of "the ratio is the margin or more, one way or the other"; None with fewer than six seeds."""
        delta, endless = math.log(margin), np.isinf(self.d.low) | np.isinf(self.d.high)
        # A run that never gets there is no sign of being alike: not even for the side that it is not on.
        d = Bounds(np.where(endless, -math.inf, self.d.low), np.where(endless, math.inf, self.d.high))
        both = [test.not_above(side, delta) for side in (d, -d) if len(d) >= LEAST_PAIRS]
        return max(both, default=None)

    def p_not_worse(self, test: LocationTest, margin: float) -> float | None:
        """Of "dearer by the margin or more"; None with fewer than six seeds."""
        return test.not_above(self.d, math.log(margin)) if len(self.d) >= LEAST_PAIRS else None


@dataclass(frozen=True)
class Pairs(PerSeed):
    """One method and the baseline on one task, matched by seed: bounds of d, and how their runs ended."""

    task: str
    method: str
    baseline: str
    cost: str
    limit: float | None  # of the cost compared, where the runs were given one
    missing: int  # seeds run for one of the two only; they are left out
    d: Bounds
    within: Bounds
    ended: tuple[str, ...]  # of the method, by seed: reached, cut off, diverged or failed
    ended_baseline: tuple[str, ...]


def pair(records: pd.DataFrame, task: str, method: str, baseline: str, cost: str, limit: float | None = None) -> Pairs:
    """The paired log ratios of one method on one task, matched by seed and rounded to 12 digits.

    Of seconds, only runs on one kind of hardware are compared (`on_one_hardware`). `limit` is the one that all runs of
    the task were given in the unit of the cost, if they were given one. Rounding keeps equal costs tied: round-off
    would break ties at random.
    """
    runs = on_one_hardware(records[records["task"] == task], cost)
    most = math.inf if limit is None else limit
    both = [costs_by_seed(runs[runs["method"] == name], cost, most) for name in (method, baseline)]
    return matched((task, method, baseline, cost), limit, *both)


def matched(
    names: tuple[str, str, str, str], limit: float | None, own: Mapping[Any, RunCost], others: Mapping[Any, RunCost]
) -> Pairs:
    """The costs of two methods by seed as pairs; `names` are those of task, method, baseline and cost."""
    shared = _by_seed(own, others)
    mine, theirs = [cost for cost, _ in shared], [cost for _, cost in shared]
    d, within = log_ratios(mine, theirs), within_limit(mine, theirs, math.inf if limit is None else limit)
    endings = (tuple(cost.ended for cost in costs) for costs in (mine, theirs))
    return Pairs(*names, limit, len(own.keys() ^ others.keys()), d, within, *endings)


def _by_seed(own: Mapping[Any, RunCost], others: Mapping[Any, RunCost]) -> list[tuple[RunCost, RunCost]]:
    return [(own[seed], others[seed]) for seed in sorted(own.keys() & others.keys())]


def within_limit(costs: Sequence[RunCost], others: Sequence[RunCost], limit: float) -> Bounds:
    """As `log_ratios`, but 0 where neither run reached the target within the limit: there they tie.

    To test min(T, limit) throughout would be sharper where both costs spread alike. Where they do not, the limit cuts
    off the bad half of the one that spreads more, and that one came out better in 27 % of studies without a difference.
    """
    d = log_ratios(costs, others)
    tie = [cost.low >= limit and other.low >= limit for cost, other in zip(costs, others, strict=True)]
    return Bounds(np.where(tie, 0.0, d.low), np.where(tie, 0.0, d.high))


def log_ratios(costs: Sequence[RunCost], others: Sequence[RunCost]) -> Bounds:
    """Bounds of log(T/T'), anywhere where neither run ever gets to the target, and 0 where both costs are 0."""
    y, other = log_bounds(costs), log_bounds(others)
    never, other_never = y.low == math.inf, other.low == math.inf
    with np.errstate(invalid="ignore"):  # of inf - inf, put right below
        below, above = y.low - other.high, y.high - other.low
    below = np.where(np.isnan(below) | (never & (other.high == math.inf)), 0.0, below)  # a tie at the least
    above = np.where(np.isnan(above) | (other_never & (y.high == math.inf)), 0.0, above)
    both = never & other_never
    return Bounds(np.where(both, -math.inf, below).round(12), np.where(both, math.inf, above).round(12))


def measured(records: pd.DataFrame, task: str, method: str, baseline: str, measure: str) -> Pairs:
    """As `pair`, of a column that every run has at its end, whether or not it reached the target.

    A run that its method ended has no final error: it counts as infinite. Of a failed run no other measure is
    known: anything may be true of its pair. Other pairs in which one has no number are left out. Two measurements of 0
    tie; a single one lies below the resolution of the measure, which bounds the ratio.
    """
    runs = records[records["task"] == task]
    runs = runs[runs["method"].isin([method, baseline])]
    least = _resolution(runs, measure)
    both = [_at_end(runs[runs["method"] == name], measure, least) for name in (method, baseline)]
    pairs = matched((task, method, baseline, measure), None, *both)
    zero = [own.low == other.low == 0 and own.ended == other.ended == REACHED for own, other in _by_seed(*both)]
    return replace(pairs, d=_tied(pairs.d, zero), within=_tied(pairs.within, zero))


def _resolution(runs: pd.DataFrame, measure: str) -> float:
    """What a measurement of 0 lies below: the smallest number above 0 that is there, or that the cases can give.

    0 where neither is known.
    """
    values = [column(runs, measure)]
    if MEASURES[measure].resolution in runs:
        values.append(column(runs, MEASURES[measure].resolution))
    positive = [value for value in np.concatenate(values) if value > 0]
    return min(positive, default=0.0)


def _at_end(runs: pd.DataFrame, measure: str, least: float) -> Mapping[Any, RunCost]:
    found: dict[Any, RunCost] = {}
    for seed, value, outcome in zip(runs["seed"], column(runs, measure), runs["outcome"], strict=True):
        if MEASURES[measure].broken_is_worst and outcome in BY_ITS_METHOD:
            found[seed] = RunCost(math.inf, math.inf, outcome)
        elif outcome == FAILED:
            found[seed] = RunCost(0.0, math.inf, outcome)
        elif value >= 0:
            found[seed] = RunCost(value, value or least, REACHED)
    return found


def _tied(d: Bounds, where: Sequence[bool]) -> Bounds:
    """The bounds, 0 in these places."""
    return Bounds(np.where(where, 0.0, d.low), np.where(where, 0.0, d.high))


# ---------------------------------------------------------------- reading and checking the table


def check_records(records: pd.DataFrame, cost: str, margin: float, alpha: float) -> None:
    """ConfigError unless the table can be compared by that cost at that margin and level."""
    if cost not in costs():
        raise ConfigError(
            f"the primary cost must be one of {', '.join(costs())}, but got "
            f"{quoted(cost)}{did_you_mean(cost, costs())}."
        )
    if not margin > 1:
        raise ConfigError(f"`margin > 1` must hold, but got margin={margin}.")
    if not 0 < alpha < 1:
        raise ConfigError(f"`0 < alpha < 1` must hold, but got alpha={alpha}.")
    needed = ("task", "method", "seed", "outcome", cost, MEASURES[cost].spent)
    absent = [name for name in needed if name not in records.columns]
    if absent:
        raise ConfigError(f"the table of results lacks {', '.join(absent)}; it has {listed(records.columns)}.")
    strange = sorted({str(outcome) for outcome in records["outcome"]} - set(OUTCOMES))
    if strange:
        raise ConfigError(f"an outcome must be one of {', '.join(OUTCOMES)}, but got {listed(strange)}.")
    twice = records[records.duplicated(["task", "method", "seed"])]
    if len(twice):
        task, method, seed = twice.iloc[0][["task", "method", "seed"]]
        raise ConfigError(f"each run must be listed once, but {method} on {task}, seed {seed} is there more than once.")


def known(records: pd.DataFrame, column: str, wanted: Sequence[str] | None) -> list[str]:
    """The names wanted, or all, sorted; ConfigError for one that no run has."""
    names = sorted(records[column].unique())
    for name in wanted or ():
        if name not in names:
            there_are = listed(names) if names else "none at all"
            raise ConfigError(f"no run of {column} {quoted(name)}{did_you_mean(name, names)}; there are: {there_are}.")
    return list(wanted) if wanted is not None else names
