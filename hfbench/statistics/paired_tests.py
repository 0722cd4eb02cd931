"""Tests and intervals for paired differences: pure functions of one array d, one entry per pair.

The signed-rank test (Wilcoxon 1945, zeros after Pratt 1959) and the interval of Hodges and Lehmann (1963) rest on one
exact null distribution, `rank_sum_null`; equivalence is shown by two one-sided t tests (Schuirmann 1987); a family of
tests is adjusted after Holm (1979). What is only known within bounds is tested at the least favourable values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from scipy.special import stdtr

from hfbench.statistics.bounds import Array, Bounds

Estimate = tuple[float, float, float]  # centre, low, high


@dataclass(frozen=True)
class Interval:
    """A centre known to lie in [centre_low, centre_high], and the interval [low, high] of its estimate.

    The interval holds the centre with probability `level` or more.
    """

    centre_low: float
    centre_high: float
    low: float
    high: float
    level: float


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


def signed_rank_below(d: Bounds) -> float:
    """One-sided p of "d is symmetric about 0 or more", never below that of the unknown d; small where d is below 0.

    Where all d are known, infinite or not, it is the exact P(W⁺ ≤ w) of `tails`. Else take every d at its upper end,
    and let C be z for each d ≥ 0 beyond the z known zeros, and 1 for each of their Walsh averages (dᵢ + dⱼ)/2 ≥ 0,
    i ≤ j.
    W⁺ grows with every d, so that w ≤ C; but ties and zeros that the unknown d may have change the null distribution
    too. With W⁺ of the untied ranks z + 1 … n,

        p ≤ min(2·P(W⁺ ≤ C), P(W⁺ ≤ C + T)),

    First: breaking the ties at random, and in the opposite order, gives untied sums whose mean is the tied one, so one
    of the two is no larger. Second: q positive signs in a group of m equal |d| move the sum of its untied ranks by at
    most q(m − q)/2 from that of its tied ones, and a sum of C or less has few positive signs: T of `_most_moved`.
    """
    if d.complete:
        return tails(d.low)[0]
    zeros = d.known & (d.low == 0)
    z, high = int(zeros.sum()), d.high[~zeros]
    with np.errstate(invalid="ignore"):  # ∞ − ∞ is NaN, which is not below 0
        sums = np.add.outer(high, high)
    c = z * int((high >= 0).sum()) + int((~(sums < 0))[np.tri(high.size, dtype=bool)].sum())
    below = np.cumsum(rank_sum_null(np.arange(z + 1.0, len(d) + 1))[::2])
    far = min(math.floor(c + _most_moved(d, c, z)), below.size - 1)
    return float(min(1.0, 2 * below[c], below[far]))


def _most_moved(d: Bounds, c: int, z: int) -> float:
    """T of `signed_rank_below`: the largest Σ q(m − q)/2 over groups, with no more than Q positive signs in all.

    Q of them have rank sums of at least Q z + Q(Q + 1)/2, which must be C or less. All unknown d join the largest
    group. The (q + 1)-th sign of a group adds (m − 2q − 1)/2; zeros have the lowest ranks, tied or not.
    """
    known = np.abs(d.low[d.known])
    groups = np.sort(np.unique(known[known > 0], return_counts=True)[1])
    largest = int(groups[-1]) if groups.size else 0
    sizes = [*groups[:-1].tolist(), largest + int((~d.known).sum())]
    most = (math.isqrt((2 * z + 1) ** 2 + 8 * c) - (2 * z + 1)) // 2
    gains = sorted(((m - 2 * q - 1) / 2 for m in sizes for q in range(m // 2)), reverse=True)
    return float(sum(gains[:most]))


def wilcoxon_bounded(d: Bounds) -> float:
    """As `wilcoxon_pratt` where each d is only known to lie between bounds: twice the smaller of the one-sided p."""
    return min(1.0, 2.0 * min(signed_rank_below(d), signed_rank_below(-d)))


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
    return _centre(d, level, unknown=math.nan)


def hodges_lehmann_bounds(d: Bounds, level: float = 0.95) -> Interval:
    """What `hodges_lehmann` may give wherever in its bounds each d lies: its centre and the ends of its interval.

    Centre and ends grow with every d, so that the lower ones are those of d.low, the upper ones those of d.high.
    Too few d for the level get the widest interval that there is, at the level of `attainable_level`.
    """
    return interval_within(d, level, _centre)


def interval_within(d: Bounds, level: float, estimate: Callable[[Array, float, float], Estimate]) -> Interval:
    """The interval of d within bounds, from `estimate(d, level, average of −inf and inf)`, which grows with every d.

    The whole line holds the centre at the level that was asked for, however few the pairs are.
    """
    within_reach = attainable_level(len(d), level)
    centre_low, low, _ = estimate(d.low, within_reach, -math.inf)
    centre_high, _, high = estimate(d.high, within_reach, math.inf)
    whole = (low, high) == (-math.inf, math.inf)
    return Interval(centre_low, centre_high, low, high, level if whole else within_reach)


def attainable_level(n: int, level: float) -> float:
    """The level, or if n pairs are too few for it 1 − 2^(1−n), which is that of [min d, max d].

    For d that are symmetric about the centre, or have it as their median, all n lie above it with probability 2^(−n) at
    most, and below it likewise. One pair says nothing: its interval is the whole line, at any level.
    """
    return min(level, 1 - 2.0 ** (1 - n)) if n > 1 else level


def _centre(d: Array, level: float, unknown: float) -> Estimate:
    """As `hodges_lehmann`; `unknown` is the average of −inf and inf."""
    if d.size == 0:
        return math.nan, -math.inf, math.inf
    with np.errstate(invalid="ignore"):
        walsh = np.add.outer(d, d)[np.tri(d.size, dtype=bool)] / 2
    walsh = np.sort(np.where(np.isnan(walsh), unknown, walsh))
    lower, upper = float(walsh[(walsh.size - 1) // 2]), float(walsh[walsh.size // 2])
    centre = unknown if {lower, upper} == {-math.inf, math.inf} else (lower + upper) / 2
    k = walsh_place(d.size, level)
    return (centre, float(walsh[k - 1]), float(walsh[-k])) if k > 0 else (centre, -math.inf, math.inf)


@cache
def walsh_place(n: int, level: float) -> int:
    """How many of the n(n + 1)/2 Walsh averages are left out at either end of an interval at that level, plus one.

    0 where even all of them are too few.
    """
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
