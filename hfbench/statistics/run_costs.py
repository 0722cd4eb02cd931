"""Cost T of each run to the target, as far as the table of results knows it.

c           if the run reached the target at c
infinity    if its own method ended it, by an exception or by divergence: it never gets there, whatever is spent
[s, inf)    if a limit ended it at its own spending s: no other run's spending bounds it
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hfbench.config.measures import MEASURES
from hfbench.errors import ConfigError
from hfbench.statistics.bounds import Array, Bounds

if TYPE_CHECKING:
    import pandas as pd

REACHED, CUT_OFF, DIVERGED, FAILED = "reached", "cut off", "diverged", "failed"
BY_ITS_METHOD = (DIVERGED, FAILED)


@dataclass(frozen=True)
class RunCost:
    """low <= T <= high, and how the run ended."""

    low: float
    high: float
    ended: str

    def within(self, limit: float) -> RunCost:
        """Of min(T, limit)."""
        return RunCost(min(self.low, limit), min(self.high, limit), self.ended)


def on_one_hardware(runs: pd.DataFrame, cost: str) -> pd.DataFrame:
    """The runs of a task that a cost can be compared of: of seconds, those on the hardware that has made most.

    Every other cost is the same on all hardware.
    """
    if MEASURES[cost].spent != "seconds" or "hardware" not in runs.columns or not len(runs):
        return runs
    kinds = runs["hardware"].map(str)  # a table of texts where results are taken as they are
    made = Counter(kinds)
    return runs[kinds == min(made, key=lambda kind: (-made[kind], kind))]


def costs_by_seed(runs: pd.DataFrame, cost: str, limit: float = math.inf) -> dict[Any, RunCost]:
    """The costs of one method's runs on one task; a target met beyond the limit counts as not reached.

    Raises ConfigError for a cost that is not positive.
    """
    to_target, spent = column(runs, cost), column(runs, MEASURES[cost].spent)
    rows = zip(runs["seed"], to_target, spent, runs["outcome"], strict=True)
    costs = {seed: _run_cost(t, s, outcome, limit) for seed, t, s, outcome in rows}
    for seed, known in costs.items():
        if known.ended == REACHED and known.low <= 0:
            where = f"{runs['method'].iloc[0]} on {runs['task'].iloc[0]}, seed {seed}"
            raise ConfigError(
                f"{cost}: costs must be positive to form ratios, but got {known.low:g} ({where}). "
                "Choose a target below the error of the initial weights."
            )
    return costs


def _run_cost(to_target: float, spent: float, outcome: str, limit: float) -> RunCost:
    if to_target <= limit:  # NaN, never reached, is not
        return RunCost(to_target, to_target, REACHED)
    if outcome in BY_ITS_METHOD:
        return RunCost(math.inf, math.inf, outcome)
    at_least = np.fmin(spent, to_target)  # NaN where a method has no such cost
    return RunCost(float(at_least) if at_least > 0 else 0.0, math.inf, CUT_OFF)


def log_bounds(costs: Sequence[RunCost]) -> Bounds:
    """Bounds of log T, shape (n,); 0, of a cost that is not told, gives -inf."""
    low, high = (np.array([getattr(cost, end) for cost in costs], dtype=float) for end in ("low", "high"))
    with np.errstate(divide="ignore"):
        return Bounds(np.log(low), np.log(high))


def column(runs: pd.DataFrame, name: str) -> Array:
    """The column as floats, NaN where there is no finite number."""
    values = np.asarray(runs[name].astype(float), dtype=float)
    return np.where(np.isfinite(values), values, np.nan)
