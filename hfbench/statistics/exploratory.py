"""Beyond one task and one cost: methods across tasks, and other measures without verdict."""

from __future__ import annotations

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
RATIO = ("n", "ratio", "ratio_low", "ratio_high", "ci_low", "ci_high", "ci_level")  # of a summary


@dataclass(frozen=True)
class Overall:
    """One method against the baseline across tasks: each task counts once, by the centre of its log ratios."""

    method: str
    baseline: str
    cost: str
    tasks: int
    ratio: float
    ratio_low: float
    ratio_high: float
    ci_low: float
    ci_high: float
    ci_level: float  # 1 - alpha, or what the tasks allow
    p: float | None
    p_holm: float | None
    p_attainable: float
    least_tasks: int  # tasks without which no method of the family can be found to differ
    verdict: str

    def to_row(self) -> dict[str, Any]:
        return finite_values(asdict(self))


@dataclass(frozen=True)
class TaskCentres(PerSeed):
    """The centre of d on every task, within bounds: a mean would be infinite where one run never gets there."""

    d: Bounds
    within: Bounds


def across_tasks(family: Sequence[Pairs], alpha: float, test: str = "wilcoxon") -> list[Overall] | None:
    """The study's test on the centres of tasks, an `Overall` per method with at least six; None if no method has them.

    Seeds of one task say nothing about other tasks, so they are never pooled. Holm runs over the methods.
    """
    groups: dict[str, list[Pairs]] = {}
    for pairs in family:
        if len(pairs.d):
            groups.setdefault(pairs.method, []).append(pairs)
    groups = {method: group for method, group in groups.items() if len(group) >= LEAST_TASKS}
    if not groups:
        return None
    centres = [
        TaskCentres(_centres([pairs.d for pairs in group], test), _centres([pairs.within for pairs in group], test))
        for group in groups.values()
    ]
    tested = adjust(
        [of_tasks.p(TESTS[test]) for of_tasks in centres], [of_tasks.least_p for of_tasks in centres], alpha
    )
    return [
        _overall(group[0], of_tasks, found, len(groups), alpha, test)
        for group, of_tasks, found in zip(groups.values(), centres, tested, strict=True)
    ]


def _centres(tasks: Sequence[Bounds], test: str) -> Bounds:
    found = [TESTS[test].interval(d, 0.95) for d in tasks]
    low, high = ([getattr(interval, end) for interval in found] for end in ("centre_low", "centre_high"))
    return Bounds(np.array(low).round(12), np.array(high).round(12))


def _overall(first: Pairs, centres: TaskCentres, tested: Tested, family: int, alpha: float, test: str) -> Overall:
    found = summary_of(centres, alpha, test)
    word = better_or_worse(tested.p_holm, found["side"], alpha) or inconclusive(tested.p_holm, "too few tasks")
    return Overall(
        method=first.method,
        baseline=first.baseline,
        cost=first.cost,
        tasks=len(centres.d),
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
    ci_level: float  # 1 - alpha, or what n allows
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
    """Ratios and intervals, by the study's test, of the other costs, of test errors and of the peak memory.

    A run without the target bounds its ratio by what it spent itself. A cost that a method does not have, as a
    first-order method has no products, or that is not positive, is left out for it: it is not one that was never
    reached. Of the other measures pairs in which one has no number are left out, and a 0 bounds its ratio, as in
    `pairs.measured`; n says how many remain.
    Raises as `compare` does.
    """
    check_records(records, primary, margin=1.1, alpha=alpha)
    known(records, "method", [baseline])
    there = set(records.columns)
    others = [cost for cost in costs().values() if cost.name != primary and {cost.name, cost.spent} <= there]
    at_end = [name for name, measure in MEASURES.items() if not measure.is_cost and measure.explored and name in there]
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
