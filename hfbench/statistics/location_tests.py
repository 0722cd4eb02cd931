"""Tests of a paired difference that a study may declare, `test = "wilcoxon"` or `"sign"`, for numbers within bounds.

Both are exact and free of distribution, but for one assumption. Wilcoxon's needs differences d that are symmetric about
their centre; the sign test needs none, its ratio is the median one, and it takes about half as many pairs again.
"""

from __future__ import annotations

from functools import cache
from typing import Protocol

import numpy as np
from scipy.special import bdtr

from hfbench.statistics.bounds import Array, Bounds
from hfbench.statistics.paired_tests import (
    Estimate,
    Interval,
    hodges_lehmann_bounds,
    interval_within,
    not_above,
    signed_rank_below,
)


class LocationTest(Protocol):
    """A test of where the centre of d is; every p holds wherever in its bounds each d lies."""

    title: str  # in a sentence
    efficiency: float  # pairs that a t test takes over those that this one takes, for normal d
    margin_efficiency: float  # the same beside a margin

    def below(self, d: Bounds) -> float:
        """One-sided p of "the centre is 0 or more"."""
        ...

    def not_above(self, d: Bounds, delta: float) -> float:
        """One-sided p of "the centre is delta or more", for equivalence and "not worse"."""
        ...

    def interval(self, d: Bounds, level: float) -> Interval:
        """Where the centre may be, and an interval that holds it with probability `level` or more.

        Too few pairs for the level get the widest interval that there is, which has a level of its own.
        """
        ...


class SignedRank:
    """Wilcoxon's test with Pratt's zeros, Hodges and Lehmann's centre, and Student's t beside a margin.

    Where a d is not known, or infinite, the t statistic is not either, and the margin is tested by signed ranks too.
    """

    title, efficiency, margin_efficiency = "Wilcoxon", 3 / np.pi, 1.0

    def below(self, d: Bounds) -> float:
        return signed_rank_below(d)

    def not_above(self, d: Bounds, delta: float) -> float:
        return not_above(d.low, delta) if d.finite else signed_rank_below(d.shifted(-delta))

    def interval(self, d: Bounds, level: float) -> Interval:
        return hodges_lehmann_bounds(d, level)


class SignTest:
    """The sign test and the median: right for skewed differences too (Dixon and Mood 1946).

    Zeros are left out; an unknown d counts as no zero and, unless its whole interval is below 0, as above.
    """

    title, efficiency, margin_efficiency = "sign test", 2 / np.pi, 2 / np.pi

    def below(self, d: Bounds) -> float:
        zeros = int((d.known & (d.low == 0)).sum())
        below = int((d.high < 0).sum())
        counted = len(d) - zeros
        return float(bdtr(counted - below, counted, 0.5)) if counted else 1.0

    def not_above(self, d: Bounds, delta: float) -> float:
        return self.below(d.shifted(-delta))

    def interval(self, d: Bounds, level: float) -> Interval:
        return interval_within(d, level, _median)


def _median(d: Array, level: float, unknown: float) -> Estimate:
    """The median of d and the order statistics that hold it (Conover 1999, 3.2); `unknown` is that of −inf and inf."""
    n = d.size
    if n == 0:
        return np.nan, -np.inf, np.inf
    ordered = np.sort(d)
    lower, upper = float(ordered[(n - 1) // 2]), float(ordered[n // 2])
    centre = unknown if (lower, upper) == (-np.inf, np.inf) else (lower + upper) / 2
    k = _order_place(n, level)
    return (centre, float(ordered[k - 1]), float(ordered[-k])) if k else (centre, -np.inf, np.inf)


@cache
def _order_place(n: int, level: float) -> int:
    """The largest k with P(B < k) <= (1 − level)/2, B the number of heads of n coins."""
    return int(np.searchsorted(bdtr(np.arange(n + 1), n, 0.5), (1 - level) / 2, side="right"))


TESTS: dict[str, LocationTest] = {"wilcoxon": SignedRank(), "sign": SignTest()}
