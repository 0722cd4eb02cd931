"""Does a method reach the target at another cost than the baseline? Paired by seed, judged per task.

ratio = exp(d) < 1 means that the method is cheaper; d, the censoring and the table of results as in `records.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .paired import hodges_lehmann, holm, pairs_needed, rank_biserial, wilcoxon_pratt
from .records import LEAST_PAIRS, SPENT, Pairs, check, error_ratios, known, pair

if TYPE_CHECKING:
    import pandas as pd

LEAST_SOLVED = 0.8  # share of pairs in which both methods must reach the target before they can be called equivalent
LEAST_TASKS = 6


@dataclass(frozen=True)
class Comparison:
    """One method against the baseline on one task. ratio < 1: the method is cheaper; its interval is at 1 − alpha."""

    task: str
    method: str
    baseline: str
    cost: str
    n: int
    missing: int
    tau: float
    ratio: float
    ci_low: float
    ci_high: float
    mean_log_ratio: float
    sd: float  # of d
    p: float | None
    p_holm: float | None
    p_tost: float | None
    p_tost_holm: float | None
    rank_biserial: float  # 1: the method won every pair
    wins: int
    losses: int
    ties: int
    solved: int
    solved_baseline: int
    solved_both: int
    needed: int | None  # pairs that would settle an inconclusive comparison, see `pairs_needed`
    margin: float
    alpha: float
    family: int  # comparisons adjusted together
    verdict: str = ""

    @property
    def informative(self) -> int:
        """Pairs with different costs."""
        return self.wins + self.losses

    @property
    def enough_solved(self) -> bool:
        """Whether both methods reached the target in 80 % of the pairs."""
        return self.solved_both >= LEAST_SOLVED * self.n

    def to_row(self) -> dict[str, Any]:
        """Plain values by field name. None where there is no number, so an infinite end of the interval is None."""
        return _plain(asdict(self))

    def metrics(self) -> dict[str, float]:
        """The numbers as `stat/<field>`, those that exist."""
        return {
            f"stat/{name}": float(value)
            for name, value in self.to_row().items()
            if isinstance(value, int | float) and name not in ("margin", "alpha", "tau")
        }


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
    p_holm = holm([one.p for one in pairs])
    p_tost_holm = holm([one.p_tost(margin) for one in pairs])
    drafts = [_describe(one, margin, alpha, family=len(pairs)) for one in pairs]
    return [
        _judged(replace(draft, p_holm=p, p_tost_holm=p_tost))
        for draft, p, p_tost in zip(drafts, p_holm, p_tost_holm, strict=True)
    ]


def _describe(pairs: Pairs, margin: float, alpha: float, family: int) -> Comparison:
    d = pairs.d
    centre, low, high = hodges_lehmann(d, 1 - alpha)
    sd = float(np.std(d, ddof=1)) if d.size > 1 else math.nan
    return Comparison(
        task=pairs.task,
        method=pairs.method,
        baseline=pairs.baseline,
        cost=pairs.cost,
        n=d.size,
        missing=pairs.missing,
        tau=pairs.tau,
        ratio=math.exp(centre),
        ci_low=math.exp(low),
        ci_high=math.exp(high),
        mean_log_ratio=float(np.mean(d)) if d.size else math.nan,
        sd=sd,
        p=pairs.p,
        p_holm=None,
        p_tost=pairs.p_tost(margin),
        p_tost_holm=None,
        rank_biserial=rank_biserial(d),
        wins=int((d < 0).sum()),
        losses=int((d > 0).sum()),
        ties=int((d == 0).sum()),
        solved=int(pairs.solved.sum()),
        solved_baseline=int(pairs.solved_baseline.sum()),
        solved_both=int((pairs.solved & pairs.solved_baseline).sum()),
        needed=pairs_needed(sd, math.log(margin), alpha, family) if sd > 0 else None,
        margin=margin,
        alpha=alpha,
        family=family,
    )


def _judged(draft: Comparison) -> Comparison:
    verdict = _verdict(draft)
    seeds_help = verdict.startswith("inconclusive") and draft.enough_solved
    return replace(draft, verdict=verdict, needed=draft.needed if seeds_help else None)


def _verdict(c: Comparison) -> str:
    """The rule, in this order: equivalent; better or worse, perhaps clearly; inconclusive.

    Two runs censored at tau tie, which must not pass for equivalence: hence the share of pairs both have solved.
    """
    if _below(c.p_tost_holm, c.alpha) and c.enough_solved:
        return "equivalent"
    if _below(c.p_holm, c.alpha) and c.ratio < 1:
        return "clearly better" if c.ci_high < 1 / c.margin else "better"
    if _below(c.p_holm, c.alpha) and c.ratio > 1:
        return "clearly worse" if c.ci_low > c.margin else "worse"
    return "inconclusive" if c.informative >= LEAST_PAIRS else "inconclusive (n too small)"


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
    verdict: str

    def to_row(self) -> dict[str, Any]:
        return _plain(asdict(self))


def across_tasks(comparisons: Sequence[Comparison]) -> list[Overall] | None:
    """Wilcoxon on task means, one `Overall` per method that has at least six tasks; None if no method has.

    Seeds of one task say nothing about other tasks, so they are never pooled. Holm runs over the methods.
    """
    groups: dict[str, list[Comparison]] = {}
    for one in comparisons:
        if one.n > 0:
            groups.setdefault(one.method, []).append(one)
    groups = {method: group for method, group in groups.items() if len(group) >= LEAST_TASKS}
    means = {method: np.array([round(one.mean_log_ratio, 12) for one in group]) for method, group in groups.items()}
    raw = [wilcoxon_pratt(d) if np.count_nonzero(d) >= LEAST_TASKS else None for d in means.values()]
    overall = []
    for (method, group), p, p_holm in zip(groups.items(), raw, holm(raw), strict=True):
        ratio, low, high = (math.exp(end) for end in hodges_lehmann(means[method], 1 - group[0].alpha))
        verdict = ("better" if ratio < 1 else "worse") if _below(p_holm, group[0].alpha) else "inconclusive"
        overall.append(
            Overall(method, group[0].baseline, group[0].cost, len(group), ratio, low, high, p, p_holm, verdict)
        )
    return overall or None


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
        return _plain(asdict(self))


def secondary(
    records: pd.DataFrame,
    baseline: str,
    primary: str = "work_to_target",
    alpha: float = 0.05,
    methods: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
) -> list[Exploratory]:
    """Hodges-Lehmann ratios and intervals of the other costs and of the final test error.

    Costs are censored at the largest amount the task's runs spent. Final errors cannot be censored: pairs in which one
    is not a positive number are left out, and n says how many remain. Raises as `compare` does.
    """
    check(records, primary, margin=1.1, alpha=alpha)
    known(records, "method", [baseline])
    measures = [cost for cost in SPENT if cost != primary and {cost, SPENT[cost]} <= set(records.columns)]
    rows = []
    for task in known(records, "task", tasks):
        for method in known(records, "method", methods):
            if method == baseline:
                continue
            found = {cost: pair(records, task, method, baseline, cost).d for cost in measures}
            if "final_test_error" in records.columns:
                found["final_test_error"] = error_ratios(records, task, method, baseline)
            for measure, d in found.items():
                ratio, low, high = (math.exp(end) for end in hodges_lehmann(d, 1 - alpha))
                rows.append(Exploratory(task, method, baseline, measure, d.size, ratio, low, high))
    return rows


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }
