"""Does a method reach the target at another cost than the baseline? Paired by seed, judged per task.

ratio = exp(d) < 1 means that the method is cheaper; d, the censoring and the table of results as in `records.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hfbench.statistics.paired_tests import (
    Array,
    hodges_lehmann,
    holm,
    least_pairs,
    pairs_needed,
    rank_biserial,
    wilcoxon_pratt,
)
from hfbench.statistics.pairs import LEAST_PAIRS, SPENT, Pairs, check, known, measured, pair

if TYPE_CHECKING:
    import pandas as pd

LEAST_SOLVED = 0.8  # share of pairs in which both methods must reach the target before they can be called equivalent
LEAST_TASKS = 6
UNCENSORED = ("final_test_error", "peak_memory")  # measures that every run has, whether or not it reached the target


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
        return plain(asdict(self))

    def metrics(self) -> dict[str, float]:
        """The numbers as `stat/<field>`, those that exist."""
        return {
            f"stat/{name}": float(value)
            for name, value in self.to_row().items()
            if isinstance(value, int | float) and name not in ("margin", "alpha", "tau")
        }


@dataclass(frozen=True, kw_only=True)
class Comparison(Difference):
    """One method against the baseline on one task: ratio < 1, and a win, mean that the method is cheaper."""

    method: str
    baseline: str
    solved: int
    solved_baseline: int
    solved_both: int

    @property
    def enough_solved(self) -> bool:
        """Whether both methods reached the target in 80 % of the pairs."""
        return self.solved_both >= LEAST_SOLVED * self.n

    @property
    def bound(self) -> str:
        """The sign of a ratio that is a bound: one method always reached the target, the other never."""
        if self.solved == 0 < self.solved_baseline == self.n:
            return "≥"
        return "≤" if self.solved_baseline == 0 < self.solved == self.n else ""

    @property
    def unsolved(self) -> bool:
        """Whether no run of either method reached the target: then their costs have no ratio."""
        return self.n > 0 and self.solved == self.solved_baseline == 0

    def to_row(self) -> dict[str, Any]:
        return {"task": self.task, "method": self.method, "baseline": self.baseline} | super().to_row()


def compare(
    records: pd.DataFrame,
    baseline: str,
    primary: str = "work_to_target",
    budget: Mapping[str, float | None] | None = None,
    margin: float = 1.10,
    alpha: float = 0.05,
    methods: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
) -> list[Comparison]:
    """Every method against the baseline on every task, p values adjusted by Holm over all of these together.

    `budget` gives tau per task in units of the primary cost; where it gives none, tau is the largest amount any of the
    task's runs spent. Methods and tasks come in the order given, else sorted. Raises ConfigError for an unknown name,
    a missing column, a run listed twice, a cost that is not positive, or a margin or alpha out of range.
    """
    check(records, primary, margin, alpha)
    methods = [one for one in known(records, "method", methods) if one != baseline]
    known(records, "method", [baseline])
    pairs = [
        pair(records, task, method, baseline, primary, (budget or {}).get(task))
        for task in known(records, "task", tasks)
        for method in methods
    ]
    return judge(pairs, margin, alpha)


def judge(family: Sequence[Pairs], margin: float, alpha: float) -> list[Comparison]:
    """The comparisons of one family of pairs: what `compare` does once the table is read."""
    tested = adjust([one.p for one in family], [one.least_p for one in family], alpha)
    p_tost = [one.p_tost(margin) for one in family]
    drafts = [
        Comparison(
            task=pairs.task,
            method=pairs.method,
            baseline=pairs.baseline,
            cost=pairs.cost,
            missing=pairs.missing,
            tau=pairs.tau,
            **summary(pairs.d, alpha),
            p=test.p,
            p_holm=test.p_holm,
            p_attainable=test.p_attainable,
            p_tost=p_equal,
            p_tost_holm=p_equal_holm,
            solved=int(pairs.solved.sum()),
            solved_baseline=int(pairs.solved_baseline.sum()),
            solved_both=int((pairs.solved & pairs.solved_baseline).sum()),
            needed=None,
            margin=margin,
            alpha=alpha,
            family=len(family),
        )
        for pairs, test, p_equal, p_equal_holm in zip(family, tested, p_tost, holm(p_tost), strict=True)
    ]
    return [_judged(draft) for draft in drafts]


def _judged(draft: Comparison) -> Comparison:
    if draft.unsolved:  # every pair ties at the budget: neither a ratio of 1 nor a lack of seeds
        none = math.nan
        without = replace(draft, ratio=none, ci_low=none, ci_high=none, mean_log_ratio=none, sd=none)
        return replace(without, verdict="inconclusive")
    return replace(draft, verdict=verdict(draft, draft.enough_solved), needed=_needed(draft))


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


def summary(d: Array, alpha: float) -> dict[str, Any]:
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


def verdict(c: Difference, enough_solved: bool) -> str:
    """The rule, in this order: equivalent; better or worse, perhaps clearly; inconclusive.

    Two runs censored at tau tie, which must not pass for equivalence: hence the share of pairs both have solved.
    """
    if _below(c.p_tost_holm, c.alpha) and enough_solved:
        return "equivalent"
    if _below(c.p_holm, c.alpha) and c.ratio < 1:
        return "clearly better" if c.beyond_margin else "better"
    if _below(c.p_holm, c.alpha) and c.ratio > 1:
        return "clearly worse" if c.beyond_margin else "worse"
    return "inconclusive (n too small)" if c.p_holm is None else "inconclusive"


def _needed(c: Comparison) -> int | None:
    """Pairs that would settle it, where it is open and more seeds would help."""
    is_open = verdict(c, c.enough_solved).startswith("inconclusive")
    if not (is_open and c.enough_solved and c.sd > 0):
        return None
    return pairs_needed(c.sd, math.log(c.margin), c.alpha, c.family)


def _below(p: float | None, alpha: float) -> bool:
    return p is not None and p < alpha


# ---------------------------------------------------------------- beyond one task and one cost


@dataclass(frozen=True)
class Overall:
    """One method against the baseline across tasks: each task counts once, by its mean log ratio."""

    method: str
    baseline: str
    cost: str
    tasks: int
    ratio: float
    ci_low: float
    ci_high: float
    p: float | None
    p_holm: float | None
    p_attainable: float
    least_tasks: int  # tasks without which no method of the family can be found to differ
    verdict: str

    def to_row(self) -> dict[str, Any]:
        return plain(asdict(self))


def across_tasks(comparisons: Sequence[Comparison]) -> list[Overall] | None:
    """Wilcoxon on task means, one `Overall` per method that has at least six tasks; None if no method has.

    Seeds of one task say nothing about other tasks, so they are never pooled. Holm runs over the methods.
    """
    groups: dict[str, list[Comparison]] = {}
    for one in comparisons:
        if math.isfinite(one.mean_log_ratio):
            groups.setdefault(one.method, []).append(one)
    groups = {method: group for method, group in groups.items() if len(group) >= LEAST_TASKS}
    if not groups:
        return None
    alpha = comparisons[0].alpha
    means = [np.array([round(one.mean_log_ratio, 12) for one in group]) for group in groups.values()]
    informative = [int(np.count_nonzero(d)) for d in means]
    raw = [wilcoxon_pratt(d) if k >= LEAST_TASKS else None for d, k in zip(means, informative, strict=True)]
    tested = adjust(raw, [2.0 ** (1 - k) if k >= LEAST_TASKS else 1.0 for k in informative], alpha)
    least = max(LEAST_TASKS, least_pairs(alpha, len(groups)))
    return [_overall(group[0], d, test, least) for group, d, test in zip(groups.values(), means, tested, strict=True)]


def _overall(first: Comparison, d: Array, test: Tested, least: int) -> Overall:
    ratio, low, high = (math.exp(end) for end in hodges_lehmann(d, 1 - first.alpha))
    if test.p_holm is None:
        word = "inconclusive (too few tasks)"
    elif test.p_holm < first.alpha:
        word = "better" if ratio < 1 else "worse"
    else:
        word = "inconclusive"
    return Overall(
        method=first.method,
        baseline=first.baseline,
        cost=first.cost,
        tasks=d.size,
        ratio=ratio,
        ci_low=low,
        ci_high=high,
        p=test.p,
        p_holm=test.p_holm,
        p_attainable=test.p_attainable,
        least_tasks=least,
        verdict=word,
    )


@dataclass(frozen=True)
class Exploratory:
    """A ratio with its interval on a measure the study did not declare as primary: no p value, no verdict."""

    task: str
    method: str
    baseline: str
    measure: str
    n: int
    ratio: float
    ci_low: float
    ci_high: float
    label: str = "exploratory"

    def to_row(self) -> dict[str, Any]:
        return plain(asdict(self))


def secondary(
    records: pd.DataFrame,
    baseline: str,
    primary: str = "work_to_target",
    alpha: float = 0.05,
    methods: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
) -> list[Exploratory]:
    """Hodges-Lehmann ratios and intervals of the other costs, of the final test error and of the peak memory.

    Costs are censored at the largest amount the task's runs spent. A cost that a method does not have, as a first-order
    method has no products, or that is not positive, is left out for it: it is not one that was never reached. The other
    measures cannot be censored: pairs in which one is not a positive number are left out, and n says how many remain.
    Raises as `compare` does.
    """
    check(records, primary, margin=1.1, alpha=alpha)
    known(records, "method", [baseline])
    measures = [cost for cost in SPENT if cost != primary and {cost, SPENT[cost]} <= set(records.columns)]
    rows = []
    for task in known(records, "task", tasks):
        for method in known(records, "method", methods):
            if method == baseline:
                continue
            both = (method, baseline)
            costs = [cost for cost in measures if all(_has_ratios(records, task, one, cost) for one in both)]
            found = {cost: pair(records, task, method, baseline, cost).d for cost in costs}
            for measure in UNCENSORED:
                if measure in records.columns:
                    found[measure] = measured(records, task, method, baseline, measure).d
            for measure, d in found.items():
                ratio, low, high = (math.exp(end) for end in hodges_lehmann(d, 1 - alpha))
                rows.append(Exploratory(task, method, baseline, measure, d.size, ratio, low, high))
    return rows


def _has_ratios(records: pd.DataFrame, task: str, method: str, cost: str) -> bool:
    """Whether the runs of a method on a task say how much of a cost they spent, and none got there for nothing."""
    runs = records[(records["task"] == task) & (records["method"] == method)]
    spent, to_target = runs[SPENT[cost]].astype(float), runs[cost].astype(float)
    return bool(np.isfinite(spent).any() and not (to_target <= 0).any())


def plain(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }
