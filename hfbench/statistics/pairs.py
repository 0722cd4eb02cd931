"""Pairs of runs with one seed, read from the table of results, one row per run with the fields of `result.json`.

For seed s of a task, T is a run's cost to the target and tau the budget:

    d_s = log(min(T_method, tau) / min(T_baseline, tau)).

A run that never reached the target (diverged, failed or out of budget: its T is null) is censored and counts as tau,
which keeps paired tests valid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hfbench.config.measures import MEASURES, costs
from hfbench.errors import ConfigError
from hfbench.messages import did_you_mean
from hfbench.statistics.paired_tests import Array, not_above, tost, wilcoxon_pratt

if TYPE_CHECKING:
    import pandas as pd

LEAST_PAIRS = 6  # below, no exact two-sided p is under .05, and the 95 % interval is unbounded


class PerSeed:
    """What the tests make of log ratios d, one per seed, shape (n,)."""

    d: Array

    @property
    def informative(self) -> int:
        """Seeds with d ≠ 0."""
        return int(np.count_nonzero(self.d))

    @property
    def p(self) -> float | None:
        """Wilcoxon-Pratt; None with fewer than six informative seeds."""
        return self._wilcoxon() if self.informative >= LEAST_PAIRS else None

    def _wilcoxon(self) -> float:
        return wilcoxon_pratt(self.d)

    @property
    def least_p(self) -> float:
        """The smallest p these seeds could have given, had all that differ the same sign; 1 where p is None."""
        return 2.0 ** (1 - self.informative) if self.informative >= LEAST_PAIRS else 1.0

    def p_tost(self, margin: float) -> float | None:
        """TOST at ±log(margin); None with fewer than six seeds."""
        return tost(self.d, math.log(margin)) if self.d.size >= LEAST_PAIRS else None

    def p_not_worse(self, margin: float) -> float | None:
        """Of "dearer by the margin or more"; None with fewer than six seeds."""
        return not_above(self.d, math.log(margin)) if self.d.size >= LEAST_PAIRS else None


@dataclass(frozen=True)
class Pairs(PerSeed):
    """One method and the baseline on one task, matched by seed: d and who reached the target, shape (n,) each."""

    task: str
    method: str
    baseline: str
    cost: str
    tau: float
    missing: int  # seeds run for one of the two only; they are left out
    d: Array
    solved: NDArray[np.bool_]
    solved_baseline: NDArray[np.bool_]


def pair(records: pd.DataFrame, task: str, method: str, baseline: str, cost: str, tau: float | None = None) -> Pairs:
    """The paired log ratios of one method on one task, matched by seed and rounded to 12 digits.

    Rounding keeps equal costs tied: round-off would break ties at random.
    """
    runs = records[records["task"] == task]
    tau = budget_of(runs, cost) if tau is None else tau
    first, second = (by_seed(runs[runs["method"] == name], cost) for name in (method, baseline))
    seeds = sorted(first.keys() & second.keys())
    t, t_base = (np.array([costs_by_seed[seed] for seed in seeds], dtype=float) for costs_by_seed in (first, second))
    solved, solved_base = t <= tau, t_base <= tau  # NaN, never reached, is False
    ratio = np.ones(len(seeds))
    either = solved | solved_base
    ratio[either] = np.where(solved, t, tau)[either] / np.where(solved_base, t_base, tau)[either]
    d: Array = np.log(ratio).round(12)
    return Pairs(task, method, baseline, cost, tau, len(first.keys() ^ second.keys()), d, solved, solved_base)


def measured(records: pd.DataFrame, task: str, method: str, baseline: str, measure: str) -> Pairs:
    """As `pair`, of a column that every run has, whether or not it reached the target: no budget censors it.

    A run that diverged has no final test error: it counts as the largest that any run of the task ended with. Pairs in
    which one is not a positive number are left out.
    """
    runs = records[records["task"] == task]
    values = _column(runs, measure)
    if measure == "final_test_error":
        diverged = np.asarray(runs["outcome"] == "diverged")
        values = np.where(diverged, _largest(values[~diverged]), values)
    runs = runs.assign(**{measure: np.where(values > 0, values, np.nan)})
    first, second = (
        {seed: value for seed, value in zip(rows["seed"], rows[measure], strict=True) if math.isfinite(value)}
        for rows in (runs[runs["method"] == name] for name in (method, baseline))
    )
    seeds = sorted(first.keys() & second.keys())
    d: Array = np.array([math.log(first[seed] / second[seed]) for seed in seeds], dtype=float).round(12)
    every = np.ones(len(seeds), dtype=np.bool_)
    return Pairs(task, method, baseline, measure, math.nan, len(first.keys() ^ second.keys()), d, every, every)


def _largest(values: Array) -> float:
    return float(np.nanmax(values)) if np.isfinite(values).any() else math.nan


# ---------------------------------------------------------------- reading and checking the table


def _column(runs: pd.DataFrame, name: str) -> Array:
    """The column as floats, NaN where there is no finite number."""
    values = np.asarray(runs[name].astype(float), dtype=float)
    return np.where(np.isfinite(values), values, np.nan)


def budget_of(runs: pd.DataFrame, cost: str) -> float:
    """Where no budget was declared: the largest amount of the cost that any of the runs spent, 0 if none is known."""
    return float(np.nanmax([0.0, *_column(runs, MEASURES[cost].spent), *_column(runs, cost)]))


def by_seed(runs: pd.DataFrame, cost: str) -> dict[Any, float]:
    """The cost of each of one method's runs, NaN where the target was not reached; ConfigError unless positive."""
    costs = dict(zip(runs["seed"], _column(runs, cost), strict=True))
    for seed, value in costs.items():
        if value <= 0:
            where = f"{runs['method'].iloc[0]} on {runs['task'].iloc[0]}, seed {seed}"
            raise ConfigError(
                f"{cost}: costs must be positive to form ratios, but got {value:g} ({where}). "
                "Choose a target below the test error of the initial weights."
            )
    return costs


def check_records(records: pd.DataFrame, cost: str, margin: float, alpha: float) -> None:
    """ConfigError unless the table can be compared by that cost at that margin and level."""
    if cost not in costs():
        raise ConfigError(
            f"the primary cost must be one of {', '.join(costs())}, but got {cost!r}{did_you_mean(cost, costs())}."
        )
    if not margin > 1:
        raise ConfigError(f"`margin > 1` must hold, but got margin={margin}.")
    if not 0 < alpha < 1:
        raise ConfigError(f"`0 < alpha < 1` must hold, but got alpha={alpha}.")
    absent = [name for name in ("task", "method", "seed", cost, MEASURES[cost].spent) if name not in records.columns]
    if absent:
        raise ConfigError(
            f"the table of results lacks {', '.join(absent)}; it has {', '.join(map(str, records.columns))}."
        )
    twice = records[records.duplicated(["task", "method", "seed"])]
    if len(twice):
        task, method, seed = twice.iloc[0][["task", "method", "seed"]]
        raise ConfigError(f"each run must be listed once, but {method} on {task}, seed {seed} is there more than once.")


def known(records: pd.DataFrame, column: str, wanted: Sequence[str] | None) -> list[str]:
    """The names wanted, or all, sorted; ConfigError for one that no run has."""
    names = sorted(records[column].unique())
    for name in wanted or ():
        if name not in names:
            there_are = ", ".join(names) or "none at all"
            raise ConfigError(f"no run of {column} {name!r}{did_you_mean(name, names)}; there are: {there_are}.")
    return list(wanted) if wanted is not None else names
