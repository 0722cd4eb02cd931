"""Difference of two methods on one task: ratio, interval and p values, adjusted by Holm over a family."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from hfbench.statistics.bounds import nearest_to_zero
from hfbench.statistics.location_tests import TESTS
from hfbench.statistics.paired_tests import holm, rank_biserial
from hfbench.statistics.pairs import LEAST_PAIRS, PerSeed
from hfbench.statistics.planning import least_pairs

D = TypeVar("D", bound="Difference")
LOOKED_AT = ("ratio", "ratio_low", "ratio_high", "ci_low", "ci_high", "ci_level")
LEAST_SOLVED = (
    0.8  # share of pairs in which both methods reached the target, from which more seeds tell more than a budget
)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What the log ratios d of n seeds of one task say. ratio = exp(centre of d), with its interval at 1 − alpha.

    Where runs were cut off, the ratio is only known to lie in [ratio_low, ratio_high], and the interval holds wherever
    it lies there: an end that nothing bounds is 0 or infinite. Where n is too small for 1 − alpha, the interval is the
    widest that n allows, at the lower level `ci_level`.
    """

    task: str
    cost: str
    n: int
    missing: int
    limit: float | None  # of the cost compared, where the runs were given one
    test: str  # "wilcoxon" or "sign"
    ratio: float  # the one nearest 1 that it may be; NaN where it may lie on either side of 1
    ratio_low: float
    ratio_high: float
    ci_low: float
    ci_high: float
    ci_level: float  # the interval holds the centre with this probability or more
    mean_log_ratio: float  # NaN where a d is not known
    sd: float  # of the d that are known
    p: float | None  # this and p_holm are None where no p value could get under alpha, see `Tested`
    p_holm: float | None
    p_attainable: float
    p_tost: float | None
    p_tost_holm: float | None
    side: int  # which one-sided p is smaller: -1 where d is rather below 0, 1 where it is rather above
    rank_biserial: float  # 1: every d < 0; NaN where a d is not known
    wins: int  # d < 0, within the limit
    losses: int
    ties: int
    unknown: int  # seeds of which it is not known who did better
    needed: int | None  # seeds that would settle an inconclusive verdict, see `planning.py`
    margin: float
    alpha: float
    family: int  # p values adjusted together
    decided_at: int | None = None  # seeds of the declared look that decided it, if not the last one
    planned: int | None = None  # seeds
    first_n: int | None = None  # seeds of the first judgement, where it was another, and no declared look
    first_verdict: str = ""
    first_how: str = ""  # "extended" since, or now a "part" of its seeds, or an "earlier block", or by "another rule"
    verdict: str = ""

    @property
    def informative(self) -> int:
        """Seeds with d ≠ 0."""
        return self.wins + self.losses

    @property
    def is_bound(self) -> bool:
        """Whether the ratio is no point."""
        return self.ratio_low != self.ratio_high and self.n > 0

    @property
    def differs(self) -> str:
        """ "better" or "worse" where the adjusted p is below alpha, however small the difference; else ""."""
        return better_or_worse(self.p_holm, self.side, self.alpha)

    @property
    def beyond_margin(self) -> bool:
        """Whether the whole interval, at 1 − alpha, is a difference larger than the margin."""
        return self.at_full_level and (self.ci_high < 1 / self.margin or self.ci_low > self.margin)

    @property
    def at_full_level(self) -> bool:
        """Whether the interval is one at 1 − alpha: n was not too small for it."""
        return self.ci_level >= self.level

    @property
    def level(self) -> float:
        """1 − alpha, which the interval is meant to have."""
        return 1 - self.alpha

    @property
    def least_pairs(self) -> int:
        """Informative seeds without which nothing in a family of this size can be found to differ."""
        return max(LEAST_PAIRS, least_pairs(self.alpha, self.family))

    def to_row(self) -> dict[str, Any]:
        """Plain values by field name. None where there is no number, so an infinite end of the interval is None."""
        return finite_values(asdict(self))

    def metrics(self) -> dict[str, float]:
        """The numbers that a person looks at as `stat/<field>`, those that exist; the rest is in the row."""
        row = self.to_row()
        return {f"stat/{name}": float(row[name]) for name in LOOKED_AT if row[name] is not None}


def by_task(found: Sequence[D]) -> list[list[D]]:
    """The comparisons or effects of each task, in the order in which the tasks come."""
    tasks = dict.fromkeys(difference.task for difference in found)
    return [[difference for difference in found if difference.task == task] for task in tasks]


@dataclass(frozen=True)
class Tested:
    """A p value within its family.

    p_attainable is the smallest p_holm there could have been, had every d ≠ 0 of the family the same sign. Where it
    is not below alpha the p value is refused: it says how few seeds there are, and nothing of the methods.
    """

    p: float | None
    p_holm: float | None
    p_attainable: float


def adjust(p_values: Sequence[float | None], least: Sequence[float], alpha: float) -> list[Tested]:
    """Holm over the family, refusing what could not have come out below alpha; `least` are the smallest possible p."""
    attainable = [1.0 if p is None else p for p in holm(least)]
    return [
        Tested(p, adjusted, floor) if floor < alpha else Tested(None, None, floor)
        for p, adjusted, floor in zip(p_values, holm(p_values), attainable, strict=True)
    ]


def better_or_worse(p_holm: float | None, side: float, alpha: float) -> str:
    """ "better" or "worse" where the adjusted p is below alpha, by the side of 0 that d is on; else ""."""
    if p_holm is None or p_holm >= alpha or side == 0:
        return ""
    return "better" if side < 0 else "worse"


def summary_of(seeds: PerSeed, alpha: float, test: str) -> dict[str, Any]:
    """The fields of a `Difference` that its seeds alone give."""
    d, within = seeds.d, seeds.within
    interval = TESTS[test].interval(d, 1 - alpha)
    known = d.low[d.known & np.isfinite(d.low)]
    return {
        "n": len(d),
        "test": test,
        "ratio": math.exp(nearest_to_zero(interval.centre_low, interval.centre_high)),
        "ratio_low": math.exp(interval.centre_low),
        "ratio_high": math.exp(interval.centre_high),
        "ci_low": math.exp(interval.low),
        "ci_high": math.exp(interval.high),
        "ci_level": interval.level,
        "mean_log_ratio": float(np.mean(d.low)) if len(d) and d.finite else math.nan,
        "sd": float(np.std(known, ddof=1)) if known.size > 1 else math.nan,
        "side": seeds.side(TESTS[test]) if len(d) else 0,
        "rank_biserial": rank_biserial(within.low) if within.complete else math.nan,
        "wins": int((within.high < 0).sum()),
        "losses": int((within.low > 0).sum()),
        "ties": int((within.known & (within.low == 0)).sum()),
        "unknown": int((~within.known & (within.low <= 0) & (within.high >= 0)).sum()),
    }


def finite_values(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }
