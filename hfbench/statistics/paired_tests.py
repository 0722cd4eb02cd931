"""Tests and intervals for paired differences: pure functions of one array d, one entry per pair.

The signed-rank test (Wilcoxon 1945, zeros after Pratt 1959) and the interval of Hodges and Lehmann (1963) rest on one
exact null distribution, `rank_sum_null`; equivalence is shown by two one-sided t tests (Schuirmann 1987); a family of
tests is adjusted after Holm (1979).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr

Array = NDArray[np.float64]


def signed_ranks(d: Array) -> Array:
    """Pratt's signed ranks sign(dᵢ)·rank(|dᵢ|): zeros are ranked with the rest, then count 0; ties share a rank."""
    size = np.abs(d)
    others = size[:, np.newaxis]
    ranks = (others < size).sum(axis=0) + ((others == size).sum(axis=0) + 1) / 2
    return np.asarray(np.sign(d) * ranks, dtype=float)


def rank_sum_null(ranks: Array) -> Array:
    """P(2W⁺ = w) for w = 0, 1, …, 2·Σ ranks, each rank joining the sum W⁺ with probability ½. Read-only.

    The coefficients of ∏ᵢ (1 + x^(2rᵢ))/2: what going through all 2ⁿ sign flips gives, at a cost of n·Σ ranks. Ranks
    are doubled because ties make halves.
    """
    return _null(tuple(sorted(np.rint(2 * ranks).astype(int).tolist())))


@lru_cache(maxsize=256)  # without ties the ranks are 1, …, n, study after study
def _null(doubled: tuple[int, ...]) -> Array:
    null = np.zeros(sum(doubled) + 1)
    null[0] = 1.0
    for rank in doubled:
        joined = np.zeros_like(null)
        joined[rank:] = null[: null.size - rank]
        null = (null + joined) / 2
    null.flags.writeable = False
    return null


def tails(d: Array) -> tuple[float, float]:
    """P(W⁺ ≤ w) and P(W⁺ ≥ w) for the observed sum w of positive ranks, over all sign flips of Pratt's signed ranks."""
    signed = signed_ranks(d)
    null = rank_sum_null(np.abs(signed))
    observed = round(2 * signed[signed > 0].sum())
    return float(null[: observed + 1].sum()), float(null[observed:].sum())


def wilcoxon_pratt(d: Array) -> float:
    """Exact two-sided p of "d is symmetric about 0" over all sign flips of Pratt's signed ranks; 1 if every d is 0."""
    return min(1.0, 2.0 * min(tails(d)))


def wilcoxon_bounded(low: Array, high: Array) -> float:
    """As `wilcoxon_pratt` where each d is only known to lie in [low, high], ends ±inf allowed.

    "d < 0" is tested on `high`, "d > 0" on `low`, and p is twice the smaller tail. W⁺ is the number of positive Walsh
    averages (without ties) and so grows with every d: p is never below that of the unknown d, and the level holds.
    """
    return min(1.0, 2.0 * min(tails(_finite(high))[0], tails(_finite(low))[1]))


def _finite(d: Array) -> Array:
    """The infinite ends as different numbers beyond all others: tied, they would have another null distribution."""
    infinite = np.isinf(d)
    beyond = np.abs(d[~infinite]).max(initial=0.0) + 1.0 + np.arange(infinite.sum())
    finite = d.copy()
    finite[infinite] = np.sign(d[infinite]) * beyond
    return finite


def rank_biserial(d: Array) -> float:
    """Matched-pairs rank-biserial correlation (W⁻ − W⁺)/(W⁻ + W⁺): 1 if every d < 0, −1 if every d > 0 (Kerby 2014)."""
    signed = signed_ranks(d)
    total = np.abs(signed).sum()
    return float(-signed.sum() / total) if total > 0 else 0.0


def hodges_lehmann(d: Array, level: float = 0.95) -> tuple[float, float, float]:
    """Centre of symmetry of d with its interval: (median of the Walsh averages (dᵢ+dⱼ)/2, i ≤ j; low; high).

    The ends are the k-th Walsh averages from below and above, k the largest number with P(W⁺ < k) ≤ (1 − level)/2, so
    the coverage is at least `level`, with ties and zeros too. Too few pairs for any k give the ends −inf and inf; no
    pair gives NaN as the centre.
    """
    if d.size == 0:
        return math.nan, -math.inf, math.inf
    walsh = np.sort(np.add.outer(d, d)[np.tri(d.size, dtype=bool)] / 2)
    centre = (walsh[(walsh.size - 1) // 2] + walsh[walsh.size // 2]) / 2
    k = _walsh_place(d.size, level)
    low, high = (walsh[k - 1], walsh[-k]) if k > 0 else (-math.inf, math.inf)
    return float(centre), float(low), float(high)


@cache
def _walsh_place(n: int, level: float) -> int:
    below = np.cumsum(rank_sum_null(np.arange(1.0, n + 1))[::2])
    return int(np.searchsorted(below, (1 - level) / 2, side="right"))


def tost(d: Array, delta: float) -> float:
    """p of "|E d| ≥ delta": the larger of two one-sided paired t tests against −delta and delta. Needs two pairs."""
    return max(not_above(d, delta), not_above(-d, delta))


def not_above(d: Array, delta: float) -> float:
    """p of "E d ≥ delta": a one-sided paired t test. Needs two pairs."""
    if np.ptp(d) == 0:  # no spread: the t statistic is ±inf
        return 0.0 if d[0] < delta else 1.0
    t = (delta - np.mean(d)) / (np.std(d, ddof=1) / math.sqrt(d.size))
    return float(stdtr(d.size - 1, -t))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment over the whole family: the k-th smallest p becomes max over j ≤ k of (m − j + 1)·p_j.

    A comparison without a p value stays without one but keeps its place in m: the family was declared beforehand.
    """
    order = sorted(range(len(p_values)), key=lambda i: _or_one(p_values[i]))
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * _or_one(p_values[i])))
        if p_values[i] is not None:
            adjusted[i] = largest
    return adjusted


def _or_one(p: float | None) -> float:
    return 1.0 if p is None else p


def pairs_needed(sd: float, delta: float, alpha: float = 0.05, family: int = 1, power: float = 0.8) -> int:
    """Pairs after which a study with this sd of d would settle the question, at Holm's first level a = alpha/family.

    Settle: with the given power, a true |E d| = delta is found to differ, and a true E d = 0 is found equivalent
    within delta. The largest of `pairs_to_differ`, `pairs_to_match` and `least_pairs`.
    """
    level = alpha / family
    least = least_pairs(alpha, family)
    return max(least, pairs_to_differ(sd, delta, level, power), pairs_to_match(sd, delta, level, power))


def least_pairs(alpha: float = 0.05, family: int = 1) -> int:
    """The smallest n at which n differing pairs can give family·p < alpha: an exact p is 2^(1−n) or more."""
    return math.floor(math.log2(2 * family / alpha)) + 1


def pairs_to_differ(sd: float, effect: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Pairs at which a true mean of ±`effect` gives a two-sided Wilcoxon p < alpha with the given power.

    n = (z_(1−alpha/2) + z_power)²·(sd/effect)² + z²_(1−alpha/2)/2 for the paired t test (Guenther 1981), times 1.05
    for ranks (asymptotic efficiency 3/π of the signed-rank test).
    """
    z = float(ndtri(1 - alpha / 2))
    n = math.ceil(((z + float(ndtri(power))) * sd / effect) ** 2 + z**2 / 2)
    return math.ceil(1.05 * n)


def pairs_to_match(sd: float, delta: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Pairs at which equal methods (true mean 0) pass `tost`: as above with z_(1−alpha), z_((1+power)/2), no 1.05."""
    z = float(ndtri(1 - alpha))
    return math.ceil(((z + float(ndtri((1 + power) / 2))) * sd / delta) ** 2 + z**2 / 2)
