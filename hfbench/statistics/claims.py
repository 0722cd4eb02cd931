"""Claims: the declared hypotheses of a study, answered on every task that runs both methods.

All of them are one family, so that Holm's correction runs over claims and tasks together. What bears a claim out:

better       the verdict is better, at any distance
equivalent   the verdict is equivalent
not-worse    either of these, or p_Holm < alpha in a one-sided paired t test of "dearer by the margin or more"

and it fails where the verdict shows the opposite; else it is open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hfbench.config.hypotheses import Hypothesis
from hfbench.config.measures import MEASURES
from hfbench.config.study import Study
from hfbench.statistics.comparisons import Comparison, judge_pairs
from hfbench.statistics.paired_tests import holm
from hfbench.statistics.pairs import Pairs, measured, pair

if TYPE_CHECKING:
    import pandas as pd

HOLDS, FAILS, OPEN = "holds", "fails", "open"


@dataclass(frozen=True)
class Claim:
    """A hypothesis on one task, and what the runs say of it."""

    hypothesis: Hypothesis
    comparison: Comparison
    p_not_worse: float | None  # Holm-adjusted over the claims

    @property
    def answer(self) -> str:
        """Whether the claim holds, fails or is open."""
        verdict = self.comparison.verdict
        worse, same, better = "worse" in verdict, verdict == "equivalent", "better" in verdict
        expects = self.hypothesis.expects
        if expects == "better":
            return HOLDS if better else FAILS if worse or same else OPEN
        if expects == "equivalent":
            return HOLDS if same else FAILS if verdict.startswith("clearly") else OPEN
        return HOLDS if better or same or self._not_worse else FAILS if worse else OPEN

    @property
    def _not_worse(self) -> bool:
        c = self.comparison
        return self.p_not_worse is not None and self.p_not_worse < c.alpha and c.enough_solved

    def to_row(self) -> dict[str, Any]:
        """Plain values: the hypothesis, the answer, and the fields of the comparison."""
        said = {"claim": self.hypothesis.name, "says": self.hypothesis.says, "expects": self.hypothesis.expects}
        return {**said, "answer": self.answer, **self.comparison.to_row(), "p_not_worse_holm": self.p_not_worse}


def answer(study: Study, runs: pd.DataFrame, budget: Mapping[str, float | None]) -> list[Claim]:
    """The claims of a study in its order, task by task; `budget` is that of the primary cost, by task."""
    declared = [
        (hypothesis, _pairs(hypothesis, task, study, runs, budget))
        for hypothesis in study.hypotheses
        for task, on_task in study.on.items()
        if {hypothesis.method, hypothesis.against} <= set(on_task.methods)
    ]
    family = [pairs for _, pairs in declared]
    judged = judge_pairs(family, study.margin, study.alpha)
    not_worse = holm([pairs.p_not_worse(study.margin) for pairs in family])
    return [Claim(hypothesis, found, p) for (hypothesis, _), found, p in zip(declared, judged, not_worse, strict=True)]


def _pairs(one: Hypothesis, task: str, study: Study, runs: pd.DataFrame, budget: Mapping[str, float | None]) -> Pairs:
    if not MEASURES[one.measure].is_cost:
        return measured(runs, task, one.method, one.against, one.measure)
    tau = budget.get(task) if one.measure == study.primary else None
    return pair(runs, task, one.method, one.against, one.measure, tau)


def by_hypothesis(claims: Sequence[Claim]) -> dict[str, list[Claim]]:
    """The claims on all tasks by the name of their hypothesis."""
    groups: dict[str, list[Claim]] = {}
    for claim in claims:
        groups.setdefault(claim.hypothesis.name, []).append(claim)
    return groups
