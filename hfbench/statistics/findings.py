"""Findings of a study: its comparisons, claims, effects, and exploratory ratios.

A method that a task does not run is not compared there; one whose runs are still missing keeps its place in the family
of tests, which was declared before any run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hfbench.config.measures import MEASURES
from hfbench.config.study import Study
from hfbench.records.recorded_study import RecordedStudy
from hfbench.statistics import claims, factorial
from hfbench.statistics.claims import Claim
from hfbench.statistics.comparisons import Comparison, judge_pairs
from hfbench.statistics.exploratory import Exploratory, Overall, across_tasks, secondary
from hfbench.statistics.factorial import Design, Effect
from hfbench.statistics.pairs import check_records, pair

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Findings:
    """All that is printed, drawn and written of a study's runs."""

    comparisons: Sequence[Comparison]
    claims: Sequence[Claim]  # of the declared hypotheses
    effects: Sequence[Effect]  # of a factorial ablation; else none
    names: factorial.Names  # what each factor is at its two ends
    secondary: Sequence[Exploratory]
    overall: Sequence[Overall]  # across tasks, from six on


def findings_of(recorded: RecordedStudy) -> Findings:
    """Judges the recorded runs. Raises ConfigError as `comparisons.compare` does."""
    study, runs, budget = recorded.study, recorded.judged, limits(recorded)
    check_records(runs, study.primary, study.margin, study.alpha)
    comparisons = _comparisons(study, runs, budget)
    return Findings(
        comparisons=comparisons,
        claims=claims.answer(study, runs, budget),
        effects=_effects(study, runs, budget),
        names=study.ablation.values if study.ablation is not None else {},
        secondary=_secondary(study, runs),
        overall=across_tasks(comparisons) or [],
    )


def limits(recorded: RecordedStudy) -> dict[str, float | None]:
    """By task, the budget in units of the primary cost; None where it does not limit that."""
    unit = MEASURES[recorded.study.primary].limit
    return {task: budget.get(unit) for task, budget in recorded.budgets.items()}


def _comparisons(study: Study, runs: pd.DataFrame, budget: Mapping[str, float | None]) -> list[Comparison]:
    pairs = [
        pair(runs, task, method, study.baseline, study.primary, budget.get(task))
        for task, on_task in study.on.items()
        for method in on_task.methods
        if method != study.baseline
    ]
    return judge_pairs(pairs, study.margin, study.alpha)


def _effects(study: Study, runs: pd.DataFrame, budget: Mapping[str, float | None]) -> list[Effect]:
    """On the tasks that all of a factorial ablation is run on."""
    if study.ablation is None or study.ablation.design != "factorial":
        return []
    design = Design(study.ablation.factors, study.ablation.levels)
    blocks = [
        factorial.block(runs, task, design, study.primary, budget.get(task))
        for task, on_task in study.on.items()
        if set(design.levels) <= set(on_task.methods)
    ]
    return factorial.judge_effects(blocks, design, study.margin, study.alpha)


def _secondary(study: Study, runs: pd.DataFrame) -> list[Exploratory]:
    """In the study's order; only what at least one pair of runs has."""
    there = set(zip(runs["task"], runs["method"], strict=True))
    found: list[Exploratory] = []
    for task, on_task in study.on.items():
        methods = [name for name in on_task.methods if (task, name) in there]
        if study.baseline in methods:
            found += secondary(runs, study.baseline, study.primary, study.alpha, methods, [task])
    return [ratio for ratio in found if ratio.n]
