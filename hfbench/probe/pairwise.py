"""Two solvers after equally many iterations on the same systems: ratio, interval and verdict.

Every system gives one ratio; d = log ratio. Centre and interval are Hodges and Lehmann's. p is that of the exact
Wilcoxon test, adjusted by Holm over all comparisons of one call. Systems of one run are not independent, so that p
measures the consistency of a difference over these systems, not over runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hfbench.probe.solver_on_system import Solve, judged_iterations
from hfbench.statistics.difference import better_or_worse
from hfbench.statistics.paired_tests import hodges_lehmann, holm, wilcoxon_pratt
from hfbench.statistics.pairs import LEAST_PAIRS

# What is compared: the column of a row, of which less is better, and its name.
MEASURES = {
    "residual": "residual",
    "gap": "1 - q/q*",
    "f_train": "f after, train",
    "f_test": "f after, test",
}
BUDGETS = (10, 40)  # cut short, and not: Martens' rule stops none before ten
SOLVED = 1e-8  # 1 - q/q* below which rounding decides, and nothing is left to gain
ALPHA = 0.05


@dataclass(frozen=True)
class Ratio:
    """Ratio B/A of one measure after k iterations, over n systems."""

    measure: str
    k: int
    n: int
    ratio: float
    low: float
    high: float
    p: float | None
    p_holm: float | None = None

    @property
    def verdict(self) -> str:
        """ "better", "worse", or why neither is shown: "not shown", "needs 6" systems."""
        if self.p_holm is None:
            return f"needs {LEAST_PAIRS}"  # systems that differ
        return better_or_worse(self.p_holm, math.log(self.ratio), ALPHA) or "not shown"


def ratios_of_solves(a: Sequence[Solve], b: Sequence[Solve]) -> list[Ratio]:
    """Ratios of all measures at all iterations that some pair of solves reached; a and b are of the same systems."""
    found = [
        one for measure in MEASURES for k in BUDGETS if (one := _ratio(a, b, measure, nearest_judged(k))) is not None
    ]
    adjusted = holm([ratio.p for ratio in found])
    return [Ratio(**{**vars(ratio), "p_holm": p}) for ratio, p in zip(found, adjusted, strict=True)]


def nearest_judged(k: int) -> int:
    """The iteration nearest to k at which every solve is judged."""
    return min(judged_iterations(2 * k), key=lambda j: abs(j - k))


def _ratio(a: Sequence[Solve], b: Sequence[Solve], measure: str, k: int) -> Ratio | None:
    by_k = [paired(solve, other, measure) for solve, other in zip(a, b, strict=True)]
    pairs = [found[k] for found in by_k if k in found]
    return Ratio(measure, k, len(pairs), *centre(pairs)) if pairs else None


def paired(a: Solve, b: Solve, measure: str) -> dict[int, tuple[float, float]]:
    """Pairs of positive values by iteration, where both were judged; none once both solves have ended."""
    judged = {row["k"]: row for row in a.rows if row["k"] > 0}
    both = [(judged[row["k"]], row) for row in b.rows if row["k"] in judged]
    return {
        x["k"]: (x[measure], y[measure])
        for x, y in both
        if max(x["gap"], y["gap"]) > SOLVED and all(0 < row[measure] < math.inf for row in (x, y))
    }


def centre(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float, float | None]:
    """Centre of y/x over positive pairs (x, y), the ends of its 95 % interval, and p; None for too few pairs."""
    d = np.array([math.log(y / x) for x, y in pairs])
    middle, low, high = (math.exp(value) for value in hodges_lehmann(d))
    return middle, low, high, wilcoxon_pratt(d) if np.count_nonzero(d) >= LEAST_PAIRS else None
