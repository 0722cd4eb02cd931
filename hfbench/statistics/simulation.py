"""Simulated studies: how often verdicts, intervals and looks are wrong, and right, when the truth is known.

Costs are log-normal, log T = seed effect + log ratio + noise; d = log T - log T' has the standard deviation SD. Limits
and failures fall on them as on real runs; what is left is judged by the code that judges real ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from hfbench.statistics.bounds import Array
from hfbench.statistics.comparisons import Comparison, judge_pairs
from hfbench.statistics.looks import spend
from hfbench.statistics.pairs import Pairs, matched
from hfbench.statistics.run_costs import CUT_OFF, FAILED, REACHED, RunCost

SEED_SD, SD = 0.3, 0.3  # of log costs between seeds; of d
SD_AT_MARGIN = 0.1  # of d where equivalence is looked for: with a larger one it is never found
MARGIN, ALPHA, POWER_AT = 1.10, 0.05, 0.7
MANY = 20_000  # pairs that quantiles of a situation are taken from


@dataclass(frozen=True)
class Situation:
    """What happens to the runs of a study."""

    name: str
    cut_off: float = 0.0  # share of pairs in which a limit ends one run or both
    units: int = 1  # of limits: a second one ends the method's runs three times as early as the baseline's
    failing: float = 0.0  # share of the method's runs, the dearest, that an exception ends
    skewed: bool = False  # d is log-normal, less its median
    uneven: bool = False  # the noise is the method's alone: the limit cuts off its bad half
    test: str = "wilcoxon"
    looks: tuple[int, ...] = ()  # n is the last of them
    declared: bool = True  # whether alpha is shared between the looks


@dataclass(frozen=True)
class Rates:
    """Shares of simulated studies, and the most that they may be, or the least, where something is promised."""

    situation: Situation
    n: int
    studies: int
    better: float  # called so at a true ratio of 1
    worse: float
    equivalent: float  # called so at the margin, above or below 1, whichever is more often
    covered: float  # intervals that hold the centre of d where costs are equal
    power: float  # called better at a true ratio of 0.7

    def error(self, rate: float) -> float:
        """Standard error of a rate, that of 1/studies where it is 0 or 1."""
        p = min(max(rate, 1 / self.studies), 1 - 1 / self.studies)
        return math.sqrt(p * (1 - p) / self.studies)

    def broken(self) -> list[str]:
        """The promises that a rate misses by more than three standard errors."""
        if self.situation.skewed and self.situation.test == "wilcoxon":
            return []  # needs symmetric d: nothing is promised
        wrong = self.better if self.situation.failing else self.better + self.worse
        most = ALPHA / 2 if self.situation.failing else ALPHA
        promises = (
            ("better" if self.situation.failing else "better or worse", wrong, most),
            ("equivalent", self.equivalent, ALPHA),
            ("not covered", 1 - self.covered, ALPHA + 0.01),
        )
        kept = self.situation.declared
        # Where a share of d is infinite d is not symmetric, and its interval promises nothing.
        asked = promises[:2] if self.situation.failing else promises
        return [name for name, rate, most in asked if kept and rate > most + 3 * math.sqrt(most / self.studies)]


SITUATIONS = (
    Situation("complete"),
    Situation("one limit, 20 % of pairs cut off", cut_off=0.2),
    Situation("one limit, 50 %", cut_off=0.5),
    Situation("limits in two units, 20 %", cut_off=0.2, units=2),
    Situation("limits in two units, 50 %", cut_off=0.5, units=2),
    Situation("one limit, 40 %, all noise the method's", cut_off=0.4, uneven=True),
    Situation("10 % of the method's runs fail, the dearest", failing=0.1),
    Situation("20 % fail", failing=0.2),
    Situation("30 % fail", failing=0.3),
    Situation("20 % fail, one limit, 20 % cut off", failing=0.2, cut_off=0.2),
    Situation("skewed", skewed=True),
    Situation("skewed, sign test", skewed=True, test="sign"),
    Situation("complete, sign test", test="sign"),
    Situation("looks at 7, 10 and 20 declared", looks=(7, 10, 20)),
    Situation("looks at 7, 10 and 20 not declared", looks=(7, 10, 20), declared=False),
)


def rates(situation: Situation, n: int, studies: int, seed: int = 0) -> Rates:
    """Judges so many studies of n pairs at each true ratio: 1, the margin and its inverse, and 0.7."""
    rng, truth = np.random.default_rng([seed, n]), _centre(situation)
    null = [_verdicts(situation, n, 1.0, rng) for _ in range(studies)]
    margins = [
        [_verdicts(situation, n, ratio, rng, SD_AT_MARGIN) for _ in range(studies)] for ratio in (MARGIN, 1 / MARGIN)
    ]
    gains = [_verdicts(situation, n, POWER_AT, rng) for _ in range(studies)]

    def share(found: Sequence[Sequence[Comparison]], holds: Callable[[Comparison], bool]) -> float:
        return float(np.mean([any(map(holds, path)) for path in found]))

    return Rates(
        situation, n, studies,
        better=share(null, lambda c: c.differs == "better"),
        worse=share(null, lambda c: c.differs == "worse"),
        equivalent=max(share(side, lambda c: c.verdict == "equivalent") for side in margins),
        covered=1 - share(null, lambda c: not c.ci_low <= truth <= c.ci_high),
        power=share(gains, lambda c: c.differs == "better"),
    )  # fmt: skip


def sizes(situation: Situation, ns: Sequence[int]) -> Iterator[int]:
    """The numbers of pairs that a situation is simulated with."""
    yield from situation.looks[-1:] or ns


def _verdicts(situation: Situation, n: int, ratio: float, rng: np.random.Generator, sd: float = SD) -> list[Comparison]:
    """What one study comes to, at each of its looks."""
    own, others = _runs(situation, n, ratio, sd, rng)
    looks = situation.looks or (n,)
    levels = spend(looks, ALPHA) if situation.declared else [ALPHA] * len(looks)
    return [
        judge_pairs([simulated_pairs(own[:seen], others[:seen], _limit(situation))], MARGIN, alpha, situation.test)[0]
        for seen, alpha in zip(looks, levels, strict=True)
    ]


def simulated_pairs(own: Sequence[RunCost], others: Sequence[RunCost], limit: float | None) -> Pairs:
    """Pairs as `pairs.pair` makes them of a table of results."""
    names = "simulated", "method", "baseline", "work_to_target"
    return matched(names, limit, dict(enumerate(own)), dict(enumerate(others)))


# ---------------------------------------------------------------- costs, limits, failures


def _costs(situation: Situation, n: int, ratio: float, rng: np.random.Generator, sd: float = SD) -> tuple[Array, Array]:
    level, noise = SEED_SD * rng.standard_normal(n), rng.standard_normal((2, n))
    if situation.uneven:
        return ratio * np.exp(sd * noise[0]), np.ones(n)
    if situation.skewed:
        return np.exp(level + math.log(ratio) + sd * (np.exp(noise[0]) - 1)), np.exp(level)
    own, other = level + sd / math.sqrt(2) * noise
    return ratio * np.exp(own), np.exp(other)


def _elsewhere(n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """What each run has spent of the cost when the limit in another unit ends it, but for a common factor."""
    noise = np.exp(0.3 * rng.standard_normal((2, n)))
    return noise[0] / 3, noise[1]


def _runs(
    situation: Situation, n: int, ratio: float, sd: float, rng: np.random.Generator
) -> tuple[list[RunCost], list[RunCost]]:
    costs, ends = _costs(situation, n, ratio, rng, sd), _elsewhere(n, rng)
    limit, factor = _limit(situation) or math.inf, _factor(situation)
    dearest = _dearest(situation)
    fails = (costs[0] > dearest, np.zeros(n, dtype=bool))
    own, others = (
        [_run(t, min(limit, factor * end), failed) for t, end, failed in zip(*method, strict=True)]
        for method in zip(costs, ends, fails, strict=True)
    )
    return own, others


def _run(cost: float, spent: float, failed: bool) -> RunCost:
    if failed:
        return RunCost(math.inf, math.inf, FAILED)
    return RunCost(cost, cost, REACHED) if cost <= spent else RunCost(float(spent), math.inf, CUT_OFF)


@cache
def _limit(situation: Situation) -> float | None:
    """The limit of the cost that cuts off the share of pairs it is to; half of it where there is a second limit."""
    if not situation.cut_off:
        return None
    dearer = np.maximum(*_costs(situation, MANY, 1.0, np.random.default_rng(1)))
    return float(np.quantile(dearer, 1 - situation.cut_off / situation.units))


@cache
def _factor(situation: Situation) -> float:
    """The factor of `_elsewhere` at which both limits together cut off the share of pairs."""
    if situation.units == 1:
        return math.inf
    rng = np.random.default_rng(2)
    costs, ends = _costs(situation, MANY, 1.0, rng), _elsewhere(MANY, rng)
    ratio = np.maximum(*(cost / end for cost, end in zip(costs, ends, strict=True)))
    beyond = np.maximum(*costs) > (_limit(situation) or math.inf)
    return float(np.quantile(np.where(beyond, math.inf, ratio), 1 - situation.cut_off, method="lower"))


@cache
def _centre(situation: Situation) -> float:
    """exp of what the test's interval is of, at a ratio of 1: the median of (d + d')/2, or of d for the sign test.

    1 but where d is skewed, or infinite in a part of the seeds.
    """
    own, other = _costs(situation, MANY, 1.0, np.random.default_rng(4))
    d = np.where(own > _dearest(situation), math.inf, np.log(own / other))
    if not (situation.failing or situation.skewed):
        return 1.0
    return math.exp(float(np.median(d if situation.test == "sign" else (d[::2] + d[1::2]) / 2)))


@cache
def _dearest(situation: Situation) -> float:
    if not situation.failing:
        return math.inf
    own, _ = _costs(situation, MANY, 1.0, np.random.default_rng(3))
    return float(np.quantile(own, 1 - situation.failing))
