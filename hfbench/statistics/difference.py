"""Difference of two methods on one task: ratio, interval and p values, adjusted by Holm over a family."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hfbench.statistics.paired_tests import (
    Array,
    hodges_lehmann,
    holm,
    least_pairs,
    rank_biserial,
)
from hfbench.statistics.pairs import LEAST_PAIRS

LEAST_SOLVED = 0.8  # share of pairs in which both methods must reach the target before they can be called equivalent


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What the log ratios d of n seeds of one task say. ratio = exp(centre of d), with its interval at 1 − alpha."""

    task: str
    cost: str
    n: int
    missing: int
    tau: float
    ratio: float
    ci_low: float
    ci_high: float
    mean_log_ratio: float
    sd: float  # of d
    p: float | None  # this and p_holm are None where no p value could get under alpha, see `Tested`
    p_holm: float | None
    p_attainable: float
    p_tost: float | None
    p_tost_holm: float | None
    rank_biserial: float  # 1: every d < 0
    wins: int  # d < 0
    losses: int
    ties: int
    needed: int | None  # seeds that would settle an inconclusive verdict, see `pairs_needed`
    margin: float
    alpha: float
    family: int  # p values adjusted together
    verdict: str = ""

    @property
    def informative(self) -> int:
        """Seeds with d ≠ 0."""
        return self.wins + self.losses

    @property
    def beyond_margin(self) -> bool:
        """Whether the whole interval is a difference larger than the margin."""
        return self.ci_high < 1 / self.margin or self.ci_low > self.margin

    @property
    def least_pairs(self) -> int:
        """Informative seeds without which nothing in a family of this size can be found to differ."""
        return max(LEAST_PAIRS, least_pairs(self.alpha, self.family))

    def to_row(self) -> dict[str, Any]:
        """Plain values by field name. None where there is no number, so an infinite end of the interval is None."""
        return finite_values(asdict(self))

    def metrics(self) -> dict[str, float]:
        """The numbers as `stat/<field>`, those that exist."""
        return {
            f"stat/{name}": float(value)
            for name, value in self.to_row().items()
            if isinstance(value, int | float) and name not in ("margin", "alpha", "tau")
        }


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


def summary_of(d: Array, alpha: float) -> dict[str, Any]:
    """The fields of a `Difference` that d alone gives."""
    centre, low, high = hodges_lehmann(d, 1 - alpha)
    return {
        "n": d.size,
        "ratio": math.exp(centre),
        "ci_low": math.exp(low),
        "ci_high": math.exp(high),
        "mean_log_ratio": float(np.mean(d)) if d.size else math.nan,
        "sd": float(np.std(d, ddof=1)) if d.size > 1 else math.nan,
        "rank_biserial": rank_biserial(d),
        "wins": int((d < 0).sum()),
        "losses": int((d > 0).sum()),
        "ties": int((d == 0).sum()),
    }


def finite_values(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }
