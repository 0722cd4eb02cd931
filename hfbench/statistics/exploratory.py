"""Beyond one task and one cost: methods across tasks, and other measures without verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hfbench.config.measures import MEASURES, Measure, costs
from hfbench.statistics.bounds import Bounds
from hfbench.statistics.difference import Tested, adjust, better_or_worse, finite_values, summary_of
from hfbench.statistics.location_tests import TESTS
from hfbench.statistics.pairs import Pairs, PerSeed, check_records, known, measured, pair
from hfbench.statistics.planning import least_pairs
from hfbench.statistics.verdict import inconclusive

if TYPE_CHECKING:
    import pandas as pd


LEAST_TASKS = 6
RATIO = ("n", "ratio", "ratio_low", "ratio_high", "ci_low", "ci_high")  # of a summary


@dataclass(frozen=True)
class Overall:
    """One method against the baseline across tasks: each task counts once, by its mean log ratio."""

    method: str
    baseline: str
    cost: str
    tasks: int
    ratio: float
    ratio_low: float
    ratio_high: float
    ci_low: float
    ci_high: float
    p: float | None
    p_holm: float | None
    p_attainable: float
    least_tasks: int  # tasks without which no method of the family can be found to differ
    verdict: str

    def to_row(self) -> dict[str, Any]:
        return finite_values(asdict(self))


@dataclass(frozen=True)
class TaskMeans(PerSeed):
    """The mean of d on every task, within bounds."""

    d: Bounds
    within: Bounds


def across_tasks(family: Sequence[Pairs], alpha: float, test: str = "wilcoxon") -> list[Overall] | None:
    """The study's test on task means, one `Overall` per method that has at least six tasks; None if no method has.

    Seeds of one task say nothing about other tasks, so they are never pooled. Holm runs over the methods.
    """
    groups: dict[str, list[Pairs]] = {}
    for pairs in family:
        if len(pairs.d):
            groups.setdefault(pairs.method, []).append(pairs)
    groups = {method: group for method, group in groups.items() if len(group) >= LEAST_TASKS}
    if not groups:
        return None
    means = [
        TaskMeans(_means([pairs.d for pairs in group]), _means([pairs.within for pairs in group]))
        for group in groups.values()
    ]
    tested = adjust([mean.p(TESTS[test]) for mean in means], [mean.least_p for mean in means], alpha)
    return [
        _overall(group[0], mean, found, len(groups), alpha, test)
        for group, mean, found in zip(groups.values(), means, tested, strict=True)
    ]


def _means(tasks: Sequence[Bounds]) -> Bounds:
    """The mean of each task's numbers; that of −inf and inf is open."""
    with np.errstate(invalid="ignore"):
        low = np.array([np.mean(d.low) for d in tasks])
        high = np.array([np.mean(d.high) for d in tasks])
    low, high = np.where(np.isnan(low), -math.inf, low), np.where(np.isnan(high), math.inf, high)
    return Bounds(low.round(12), high.round(12))


def _overall(first: Pairs, means: TaskMeans, tested: Tested, family: int, alpha: float, test: str) -> Overall:
    found = summary_of(means, alpha, test)
    word = better_or_worse(tested.p_holm, found["side"], alpha) or inconclusive(tested.p_holm, "too few tasks")
    return Overall(
        method=first.method,
        baseline=first.baseline,
        cost=first.cost,
        tasks=len(means.d),
        **{name: found[name] for name in RATIO if name != "n"},
        p=tested.p,
        p_holm=tested.p_holm,
        p_attainable=tested.p_attainable,
        least_tasks=max(LEAST_TASKS, least_pairs(alpha, family)),
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
    ratio_low: float
    ratio_high: float
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
    test: str = "wilcoxon",
) -> list[Exploratory]:
    """Ratios and intervals, by the study's test, of the other costs, of the final test error and of the peak memory.

    A run without the target bounds its ratio by what it spent itself. A cost that a method does not have, as a
    first-order method has no products, or that is not positive, is left out for it: it is not one that was never
    reached. Of the other measures pairs in which one is not a positive number are left out; n says how many remain.
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
            found = [pair(records, task, method, baseline, cost) for cost in paid]
            found += [measured(records, task, method, baseline, measure) for measure in at_end]
            for pairs in found:
                ratio = {name: value for name, value in summary_of(pairs, alpha, test).items() if name in RATIO}
                rows.append(Exploratory(task, method, baseline, pairs.cost, **ratio))
    return rows


def _has_ratios(records: pd.DataFrame, task: str, method: str, cost: Measure) -> bool:
    """Whether the runs of a method on a task say how much of a cost they spent, and none got there for nothing."""
    runs = records[(records["task"] == task) & (records["method"] == method)]
    spent, to_target = runs[cost.spent].astype(float), runs[cost.name].astype(float)
    return bool(np.isfinite(spent).any() and not (to_target <= 0).any())
