"""Carry-over: settings tuned on one task, compared on the others.

Its study (`frozen_studies.carry_over_study`) compares the unchanged method with the settings frozen on each task, on
every task of the sweep's study and on the study's seeds, which the tuning has not used. Its verdicts say where tuning
pays. A second family of comparisons is between settings tuned elsewhere and settings tuned on the task itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hfbench.records.recorded_study import RecordedStudy
from hfbench.report import comparison_text
from hfbench.statistics.comparisons import Comparison, judge_pairs
from hfbench.statistics.findings import findings_of, limits
from hfbench.statistics.pairs import pair
from hfbench.sweep.frozen_studies import name_of


@dataclass(frozen=True)
class Cell:
    """Comparison on one task: settings tuned on another, against the unchanged method or those tuned on this task."""

    method: str
    tuned_on: str
    run_on: str
    against: str  # "defaults" or "own"
    comparison: Comparison

    def to_row(self) -> dict[str, Any]:
        said = {"tuned": self.method, "tuned_on": self.tuned_on, "run_on": self.run_on, "against": self.against}
        return said | self.comparison.to_row() | {"sentence": comparison_text.sentences(self.comparison)}


def carry_over_matrix(recorded: RecordedStudy, method: str, tasks: Sequence[str]) -> list[Cell]:
    """All cells, in two families: against the unchanged method, and against the settings tuned on the task."""
    study = recorded.study
    names = {name_of(method, task): task for task in tasks if name_of(method, task) in study.methods}
    cells = [
        Cell(method, names[comparison.method], comparison.task, "defaults", comparison)
        for comparison in findings_of(recorded).comparisons
    ]
    budget = limits(recorded)
    pairs = [
        pair(recorded.judged, own, other, name_of(method, own), study.primary, budget.get(own))
        for own in names.values()
        for other in names
        if names[other] != own and own in study.on
    ]
    return cells + [
        Cell(method, names[comparison.method], comparison.task, "own", comparison)
        for comparison in judge_pairs(pairs, study.margin, study.alpha, study.test)
    ]
