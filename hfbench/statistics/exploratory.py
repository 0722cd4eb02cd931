"""Beyond one task and one cost: methods across tasks, and other measures without verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hfbench.config.measures import MEASURES, Measure, costs
from hfbench.statistics.comparisons import Comparison
from hfbench.statistics.difference import Tested, adjust, finite_values
from hfbench.statistics.paired_tests import (
    Array,
    hodges_lehmann,
    least_pairs,
    wilcoxon_pratt,
)
from hfbench.statistics.pairs import check_records, known, measured, pair
from hfbench.statistics.verdict import better_or_worse, inconclusive

if TYPE_CHECKING:
    import pandas as pd


LEAST_TASKS = 6


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
        return finite_values(asdict(self))


def across_tasks(comparisons: Sequence[Comparison]) -> list[Overall] | None:
    """Wilcoxon on task means, one `Overall` per method that has at least six tasks; None if no method has.

    Seeds of one task say nothing about other tasks, so they are never pooled. Holm runs over the methods.
    """
    groups: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        if math.isfinite(comparison.mean_log_ratio):
            groups.setdefault(comparison.method, []).append(comparison)
    groups = {method: group for method, group in groups.items() if len(group) >= LEAST_TASKS}
    if not groups:
        return None
    alpha = comparisons[0].alpha
    means = [np.array([round(comparison.mean_log_ratio, 12) for comparison in group]) for group in groups.values()]
    informative = [int(np.count_nonzero(d)) for d in means]
    raw = [wilcoxon_pratt(d) if k >= LEAST_TASKS else None for d, k in zip(means, informative, strict=True)]
    tested = adjust(raw, [2.0 ** (1 - k) if k >= LEAST_TASKS else 1.0 for k in informative], alpha)
    least = max(LEAST_TASKS, least_pairs(alpha, len(groups)))
    return [_overall(group[0], d, test, least) for group, d, test in zip(groups.values(), means, tested, strict=True)]


def _overall(first: Comparison, d: Array, test: Tested, least: int) -> Overall:
    ratio, low, high = (math.exp(end) for end in hodges_lehmann(d, 1 - first.alpha))
    word = better_or_worse(test.p_holm, ratio, first.alpha) or inconclusive(test.p_holm, "too few tasks")
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
        return finite_values(asdict(self))


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
    check_records(records, primary, margin=1.1, alpha=alpha)
    known(records, "method", [baseline])
    there = set(records.columns)
    others = [cost for cost in costs().values() if cost.name != primary and {cost.name, cost.spent} <= there]
    at_end = [name for name, measure in MEASURES.items() if not measure.is_cost and name in there]
    rows = []
    for task in known(records, "task", tasks):
        for method in known(records, "method", methods):
            if method == baseline:
                continue
            both = (method, baseline)
            paid = [cost.name for cost in others if all(_has_ratios(records, task, name, cost) for name in both)]
            found = {cost: pair(records, task, method, baseline, cost).d for cost in paid}
            found |= {measure: measured(records, task, method, baseline, measure).d for measure in at_end}
            for measure, d in found.items():
                ratio, low, high = (math.exp(end) for end in hodges_lehmann(d, 1 - alpha))
                rows.append(Exploratory(task, method, baseline, measure, d.size, ratio, low, high))
    return rows


def _has_ratios(records: pd.DataFrame, task: str, method: str, cost: Measure) -> bool:
    """Whether the runs of a method on a task say how much of a cost they spent, and none got there for nothing."""
    runs = records[(records["task"] == task) & (records["method"] == method)]
    spent, to_target = runs[cost.spent].astype(float), runs[cost.name].astype(float)
    return bool(np.isfinite(spent).any() and not (to_target <= 0).any())
