"""Seeds that a comparison would need, planned from the spread that was measured."""

from __future__ import annotations

import math

from scipy.special import chdtri, ndtri

from hfbench.statistics.location_tests import TESTS

SD_CONFIDENCE = 0.8  # of the upper limit of sd that is planned with


def sd_to_plan_with(sd: float, n: int) -> float:
    """The upper 80 % confidence limit of the sd that n normal d were found to have: sd·√((n − 1)/χ²_(.2; n − 1)).

    1.4 sd for n = 7, 1.2 sd for n = 20. To plan with the sd itself gives less than the power promised in half of all
    cases, since it is as often too small as too large.
    """
    return sd * math.sqrt((n - 1) / float(chdtri(n - 1, SD_CONFIDENCE)))


def pairs_needed(
    sd: float, delta: float, alpha: float = 0.05, family: int = 1, power: float = 0.8, test: str = "wilcoxon"
) -> int:
    """Pairs after which a study with this sd of d would settle the question, at Holm's first level a = alpha/family.

    Settle: with the given power, a true |E d| = delta is found to differ, and a true E d = 0 is found equivalent
    within delta. The largest of `pairs_to_differ`, `pairs_to_match` and `least_pairs`.
    """
    level = alpha / family
    least = least_pairs(alpha, family)
    return max(least, pairs_to_differ(sd, delta, level, power, test), pairs_to_match(sd, delta, level, power, test))


def least_pairs(alpha: float = 0.05, family: int = 1) -> int:
    """The smallest n at which n differing pairs can give family·p < alpha: an exact p is 2^(1−n) or more."""
    return math.floor(math.log2(2 * family / alpha)) + 1


def pairs_to_differ(sd: float, effect: float, alpha: float = 0.05, power: float = 0.8, test: str = "wilcoxon") -> int:
    """Pairs at which a true mean of ±`effect` gives a two-sided p < alpha with the given power.

    n = (z_(1−alpha/2) + z_power)²·(sd/effect)² + z²_(1−alpha/2)/2 for the paired t test (Guenther 1981), over the
    asymptotic efficiency of the test: 3/π of signed ranks, 2/π of signs.
    """
    z = float(ndtri(1 - alpha / 2))
    n = math.ceil(((z + float(ndtri(power))) * sd / effect) ** 2 + z**2 / 2)
    return math.ceil(n / TESTS[test].efficiency)


def pairs_to_match(sd: float, delta: float, alpha: float = 0.05, power: float = 0.8, test: str = "wilcoxon") -> int:
    """Pairs at which equal methods (true mean 0) are found equivalent: as above with z_(1−alpha), z_((1+power)/2)."""
    z = float(ndtri(1 - alpha))
    n = math.ceil(((z + float(ndtri((1 + power) / 2))) * sd / delta) ** 2 + z**2 / 2)
    return math.ceil(n / TESTS[test].margin_efficiency)
