"""Comparisons of every method with the baseline in the cost of reaching the target; paired by seed, judged per task.

ratio = exp(d) < 1 means that the method is cheaper; d, the censoring and the table of results as in `pairs.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hfbench.statistics.difference import LEAST_SOLVED, Difference, adjust, summary_of
from hfbench.statistics.paired_tests import (
    holm,
    pairs_needed,
)
from hfbench.statistics.pairs import Pairs, check_records, known, pair
from hfbench.statistics.verdict import verdict

if TYPE_CHECKING:
    import pandas as pd


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
    check_records(records, primary, margin, alpha)
    methods = [method for method in known(records, "method", methods) if method != baseline]
    known(records, "method", [baseline])
    pairs = [
        pair(records, task, method, baseline, primary, (budget or {}).get(task))
        for task in known(records, "task", tasks)
        for method in methods
    ]
    return judge_pairs(pairs, margin, alpha)


def judge_pairs(family: Sequence[Pairs], margin: float, alpha: float) -> list[Comparison]:
    """The comparisons of one family of pairs: what `compare` does once the table is read."""
    tested = adjust([pairs.p for pairs in family], [pairs.least_p for pairs in family], alpha)
    p_tost = [pairs.p_tost(margin) for pairs in family]
    drafts = [
        Comparison(
            task=pairs.task,
            method=pairs.method,
            baseline=pairs.baseline,
            cost=pairs.cost,
            missing=pairs.missing,
            tau=pairs.tau,
            **summary_of(pairs.d, alpha),
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


def _needed(c: Comparison) -> int | None:
    """Pairs that would settle it, where it is open and more seeds would help."""
    is_open = verdict(c, c.enough_solved).startswith("inconclusive")
    if not (is_open and c.enough_solved and c.sd > 0):
        return None
    return pairs_needed(c.sd, math.log(c.margin), c.alpha, c.family)
