"""Two solvers after equally many iterations on the same systems: by what factor do they differ, and is it shown?

For every system one ratio; d = log ratio. The centre and interval are Hodges and Lehmann's, p is the exact Wilcoxon's,
adjusted by Holm over all that is asked at once. Systems of one run are not independent of each other, so a p tells
how consistent a difference is over these systems, not over runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hfbench.studies.paired import hodges_lehmann, holm, wilcoxon_pratt
from hfbench.studies.records import LEAST_PAIRS

from .duel import Solve, grid

# What is compared: the column of a row, whether less is better, and its name.
MEASURES = {
    "residual": (1.0, "residual"),
    "gap": (1.0, "1 - q/q*"),
    "change_train": (-1.0, "fall of f, train"),
    "change_test": (-1.0, "fall of f, test"),
}
BUDGETS = (5, 10, 20, 40, 80)
ALPHA = 0.05


@dataclass(frozen=True)
class Ratio:
    """B's over A's of one measure after k iterations, over n systems."""

    measure: str
    k: int
    n: int
    dropped: int  # systems in which one of the two is not positive: no ratio
    ratio: float
    low: float
    high: float
    p: float | None
    p_holm: float | None = None

    @property
    def less_is_better(self) -> bool:
        return MEASURES[self.measure][0] > 0

    @property
    def verdict(self) -> str:
        """ "better", "worse", or why neither is shown."""
        if self.p_holm is None:
            return "too few"
        if self.p_holm > ALPHA:
            return "not shown"
        return "better" if (self.ratio < 1) == self.less_is_better else "worse"


def ratios(a: Sequence[Solve], b: Sequence[Solve]) -> list[Ratio]:
    """All measures at all budgets that some pair of solves has come to; a and b are of the same systems, in order."""
    found = [one for measure in MEASURES for k in BUDGETS if (one := _ratio(a, b, measure, nearest(k))) is not None]
    adjusted = holm([one.p for one in found])
    return [Ratio(**{**vars(one), "p_holm": p}) for one, p in zip(found, adjusted, strict=True)]


def nearest(k: int) -> int:
    """The iteration that every solve is judged at, which comes next to k."""
    return min(grid(2 * k), key=lambda j: abs(j - k))


def _ratio(a: Sequence[Solve], b: Sequence[Solve], measure: str, k: int) -> Ratio | None:
    sign, pairs = MEASURES[measure][0], list[tuple[float, float]]()
    for one, other in zip(a, b, strict=True):
        rows = one.row_at(k), other.row_at(k)
        if rows[0] is not None and rows[1] is not None and measure in rows[0]:
            pairs.append((sign * rows[0][measure], sign * rows[1][measure]))
    whole = [(x, y) for x, y in pairs if x > 0 and y > 0]
    if not whole:
        return None
    return Ratio(measure, k, len(whole), len(pairs) - len(whole), *centre(whole))


def centre(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float, float | None]:
    """Of y/x over positive pairs (x, y): the centre, the ends of its 95 % interval, and p, None for too few pairs."""
    d = np.array([math.log(y / x) for x, y in pairs])
    middle, low, high = (math.exp(value) for value in hodges_lehmann(d))
    return middle, low, high, wilcoxon_pratt(d) if np.count_nonzero(d) >= LEAST_PAIRS else None
