"""Carry-over: settings tuned on one task, compared on the others.

The study compares the unchanged method with the settings frozen on each task, on every task of the sweep's study and
on the study's seeds, which the tuning has not used. Its verdicts say where tuning pays. A second family of comparisons
is between settings tuned elsewhere and settings tuned on the task itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hfbench.config.key_paths import with_values
from hfbench.config.study import Study
from hfbench.parts.families import fitted_name
from hfbench.records.recorded_study import RecordedStudy
from hfbench.report import comparison_text
from hfbench.statistics.comparisons import Comparison, judge_pairs
from hfbench.statistics.findings import findings_of, limits
from hfbench.statistics.pairs import pair
from hfbench.sweep.retest import Winner


@dataclass(frozen=True)
class Cell:
    """Comparison on one task: settings tuned on another, against the unchanged method or those tuned on this task."""

    tuned_on: str
    run_on: str
    against: str  # "defaults" or "own"
    comparison: Comparison

    def to_row(self) -> dict[str, Any]:
        said = {"tuned_on": self.tuned_on, "run_on": self.run_on, "against": self.against}
        return said | self.comparison.to_row() | {"sentence": comparison_text.sentences(self.comparison)}


def name_of(method: str, task: str) -> str:
    """Name of the method with the settings frozen on a task."""
    return fitted_name(f"{method}_for_{task}")


def frozen_name(study: str) -> str:
    """Name of the study that compares what a study's sweep has frozen."""
    return fitted_name(f"{study}-frozen")


def frozen_study(study: Study, frozen: Mapping[str, Winner]) -> Study | None:
    """The study that compares the settings frozen on each task; None if every task keeps the unchanged method."""
    assert study.sweep is not None
    base = study.methods[study.sweep.method]
    tuned = {
        name_of(base.name, task): with_values(base, winner.params, name_of(base.name, task))
        for task, winner in frozen.items()
        if not winner.kept
    }
    if not tuned:
        return None
    methods = {base.name: base, **tuned}
    return replace(
        study, name=frozen_name(study.name), question=_question(base.name, frozen), notes=_notes(study),
        methods=methods, baseline=base.name,
        on={task: replace(on_task, methods=tuple(methods)) for task, on_task in study.on.items()},
        hypotheses=(), ablation=None, sweep=None,
    )  # fmt: skip


def _question(method: str, frozen: Mapping[str, Winner]) -> str:
    return f"Do settings of {method} that were tuned on {' or '.join(frozen)} pay there, and elsewhere?"


def _notes(study: Study) -> str:
    sweep = study.sweep
    assert sweep is not None
    return (
        f"What is compared was frozen by the sweep of {study.name}: tuned on seeds {', '.join(map(str, sweep.seeds))}, "
        f"chosen on seeds {', '.join(map(str, sweep.retest))}, neither of which is run here."
    )


def carry_over_matrix(recorded: RecordedStudy, method: str, tasks: Sequence[str]) -> list[Cell]:
    """All cells, in two families: against the unchanged method, and against the settings tuned on the task."""
    study = recorded.study
    names = {name_of(method, task): task for task in tasks if name_of(method, task) in study.methods}
    cells = [
        Cell(names[comparison.method], comparison.task, "defaults", comparison)
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
        Cell(names[comparison.method], comparison.task, "own", comparison)
        for comparison in judge_pairs(pairs, study.margin, study.alpha, study.test)
    ]
