"""Claims: the declared hypotheses of a study, answered on every task that runs both methods.

All of them are one family, so that Holm's correction runs over claims and tasks together. What bears a claim out:

better       p_Holm < alpha with the method on the cheaper side, however near to 1 the ratio is
equivalent   the verdict is equivalent
not-worse    either of these, or p_Holm < alpha in a one-sided test of "dearer by the margin or more"

and it fails where the opposite is shown: worse; of "equivalent", clearly better or worse. Else it is open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hfbench.config.hypotheses import Hypothesis
from hfbench.config.measures import MEASURES
from hfbench.config.study import Study
from hfbench.statistics.comparisons import Comparison, judge_pairs
from hfbench.statistics.families import claimed
from hfbench.statistics.location_tests import TESTS
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
        c, expects = self.comparison, self.hypothesis.expects
        same = c.verdict == "equivalent"
        if expects == "equivalent":
            return HOLDS if same else FAILS if c.verdict.startswith("clearly") else OPEN
        if c.differs == "better" or (expects == "not-worse" and (same or self._not_worse)):
            return HOLDS
        return FAILS if c.differs == "worse" else OPEN

    @property
    def _not_worse(self) -> bool:
        return self.p_not_worse is not None and self.p_not_worse < self.comparison.alpha

    def to_row(self) -> dict[str, Any]:
        """Plain values: the hypothesis, the answer, and the fields of the comparison."""
        said = {"claim": self.hypothesis.name, "says": self.hypothesis.says, "expects": self.hypothesis.expects}
        return {**said, "answer": self.answer, **self.comparison.to_row(), "p_not_worse_holm": self.p_not_worse}


def answer(study: Study, runs: pd.DataFrame, budget: Mapping[str, Mapping[str, float]]) -> list[Claim]:
    """The claims of a study in its order, task by task; `budget` says where a run ends, by task."""
    declared = [(hypothesis, _pairs(hypothesis, task, study, runs, budget)) for hypothesis, task in claimed(study)]
    family = [pairs for _, pairs in declared]
    judged = judge_pairs(family, study.margin, study.alpha, study.test)
    not_worse = holm([pairs.p_not_worse(TESTS[study.test], study.margin) for pairs in family])
    return [Claim(hypothesis, found, p) for (hypothesis, _), found, p in zip(declared, judged, not_worse, strict=True)]


def _pairs(
    one: Hypothesis, task: str, study: Study, runs: pd.DataFrame, budget: Mapping[str, Mapping[str, float]]
) -> Pairs:
    if not MEASURES[one.measure].is_cost:
        return measured(runs, task, one.method, one.against, one.measure)
    limit = budget.get(task, {}).get(MEASURES[one.measure].limit)
    return pair(runs, task, one.method, one.against, one.measure, limit)


def by_hypothesis(claims: Sequence[Claim]) -> dict[str, list[Claim]]:
    """The claims on all tasks by the name of their hypothesis."""
    groups: dict[str, list[Claim]] = {}
    for claim in claims:
        groups.setdefault(claim.hypothesis.name, []).append(claim)
    return groups
