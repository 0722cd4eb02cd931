"""Comparisons of every method with the baseline in the cost of reaching the target; paired by seed, judged per task.

ratio = exp(d) < 1 means that the method is cheaper; d and its bounds, and the table of results, as in `pairs.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hfbench.statistics.difference import LEAST_SOLVED, Difference, adjust, summary_of
from hfbench.statistics.location_tests import TESTS
from hfbench.statistics.paired_tests import holm
from hfbench.statistics.pairs import Pairs, check_records, known, pair
from hfbench.statistics.planning import pairs_needed, sd_to_plan_with
from hfbench.statistics.run_costs import CUT_OFF, DIVERGED, FAILED, REACHED
from hfbench.statistics.verdict import verdict

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Comparison(Difference):
    """One method against the baseline on one task: ratio < 1, and a win, mean that the method is cheaper.

    Of the runs that did not reach the target: `cut_off` by a limit, `diverged`, or `failed` with an exception.
    """

    method: str
    baseline: str
    solved: int
    solved_baseline: int
    solved_both: int
    cut_off: int
    cut_off_baseline: int
    diverged: int
    diverged_baseline: int
    failed: int
    failed_baseline: int

    @property
    def enough_solved(self) -> bool:
        """Whether both methods reached the target in 80 % of the pairs: then more seeds tell more than a budget."""
        return self.solved_both >= LEAST_SOLVED * self.n

    @property
    def unsolved(self) -> bool:
        """Whether no run of either method reached the target: then their costs have no ratio."""
        return self.n > 0 and self.solved == self.solved_baseline == 0

    @property
    def by_its_method(self) -> int:
        """Runs of either that an exception or divergence ended."""
        return self.diverged + self.diverged_baseline + self.failed + self.failed_baseline

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
    test: str = "wilcoxon",
) -> list[Comparison]:
    """Every method against the baseline on every task, p values adjusted by Holm over all of these together.

    `budget` gives the limit of the primary cost that all runs of a task were given, if they were. Methods and tasks
    come in the order given, else sorted; `test` is one of `location_tests.TESTS`. Raises ConfigError for an unknown
    name, a missing column, a run listed twice, a cost that is not positive, or a margin or alpha out of range.
    """
    check_records(records, primary, margin, alpha)
    methods = [method for method in known(records, "method", methods) if method != baseline]
    known(records, "method", [baseline])
    pairs = [
        pair(records, task, method, baseline, primary, (budget or {}).get(task))
        for task in known(records, "task", tasks)
        for method in methods
    ]
    return judge_pairs(pairs, margin, alpha, test)


def judge_pairs(family: Sequence[Pairs], margin: float, alpha: float, test: str = "wilcoxon") -> list[Comparison]:
    """The comparisons of one family of pairs: what `compare` does once the table is read."""
    by = TESTS[test]
    tested = adjust([pairs.p(by) for pairs in family], [pairs.least_p for pairs in family], alpha)
    p_tost = [pairs.p_equivalent(by, margin) for pairs in family]
    drafts = [
        Comparison(
            task=pairs.task,
            method=pairs.method,
            baseline=pairs.baseline,
            cost=pairs.cost,
            missing=pairs.missing,
            limit=pairs.limit,
            **summary_of(pairs, alpha, test),
            p=found.p,
            p_holm=found.p_holm,
            p_attainable=found.p_attainable,
            p_tost=p_equal,
            p_tost_holm=p_equal_holm,
            **_endings(pairs),
            needed=None,
            margin=margin,
            alpha=alpha,
            family=len(family),
        )
        for pairs, found, p_equal, p_equal_holm in zip(family, tested, p_tost, holm(p_tost), strict=True)
    ]
    return [replace(draft, verdict=_word(draft), needed=_needed(draft)) for draft in drafts]


def _word(draft: Comparison) -> str:
    """That nobody reached the target is no lack of seeds."""
    return "inconclusive" if draft.unsolved else verdict(draft)


def _endings(pairs: Pairs) -> dict[str, Any]:
    """How many runs of the two ended how."""
    own, others = pairs.ended, pairs.ended_baseline
    counts = {
        f"{field}{whose}": ended.count(kind)
        for field, kind in (("solved", REACHED), ("cut_off", CUT_OFF), ("diverged", DIVERGED), ("failed", FAILED))
        for whose, ended in (("", own), ("_baseline", others))
    }
    both = sum(ended == other == REACHED for ended, other in zip(own, others, strict=True))
    return counts | {"solved_both": both}


def _needed(c: Comparison) -> int | None:
    """Pairs that would settle it, where it is open and more seeds would help."""
    is_open = verdict(c).startswith("inconclusive")
    if not (is_open and c.enough_solved and c.sd > 0):
        return None
    sd = sd_to_plan_with(c.sd, c.n)
    return pairs_needed(sd, math.log(c.margin), c.alpha, c.family, test=c.test)
