"""Findings of a study: its comparisons, claims, effects, and exploratory ratios.

A method that a task does not run is not compared there; one whose runs are still missing keeps its place in the family
of tests, which was declared before any run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hfbench.config.measures import MEASURES
from hfbench.config.study import Study
from hfbench.records.recorded_study import RecordedStudy
from hfbench.statistics import claims, factorial, looks
from hfbench.statistics.claims import Claim
from hfbench.statistics.comparisons import Comparison, judge_pairs
from hfbench.statistics.exploratory import Exploratory, Overall, across_tasks, secondary
from hfbench.statistics.factorial import Effect
from hfbench.statistics.families import compared, factorial_of
from hfbench.statistics.looks import Look
from hfbench.statistics.pairs import Pairs, check_records, pair

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
    """Judges the recorded runs, at the looks that the study declares. Raises ConfigError as `compare` does."""
    study, runs = recorded.study, recorded.judged
    check_records(runs, study.primary, study.margin, study.alpha)
    judged = [_judge(study, runs, recorded, look) for look in looks.complete(recorded)]
    last = judged[-1] if judged else _judge(study, runs, recorded, looks.on_all_seeds(study))
    return Findings(
        comparisons=looks.first_decided([found.comparisons for found in judged], last.comparisons),
        claims=looks.first_answered([found.claims for found in judged], last.claims),
        effects=looks.first_decided([found.effects for found in judged], last.effects),
        names=study.ablation.values if study.ablation is not None else {},
        secondary=_secondary(study, runs),
        overall=last.overall,
    )


def up_to_decision(recorded: RecordedStudy) -> RecordedStudy:
    """The study up to the declared look that left nothing open, if there is one: later seeds are not asked for."""
    for look in looks.complete(recorded):
        if look.seeds is not None:
            until = recorded.first_seeds(look.seeds)
            found = findings_of(until)
            if looks.all_decided([*found.comparisons, *found.effects], found.claims):
                return until
    return recorded


@dataclass(frozen=True)
class _Judged:
    comparisons: Sequence[Comparison]
    claims: Sequence[Claim]
    effects: Sequence[Effect]
    overall: Sequence[Overall]


def _judge(study: Study, runs: pd.DataFrame, recorded: RecordedStudy, look: Look) -> _Judged:
    """All families at one look: its seeds, its share of alpha."""
    runs = looks.seen_at(look, study, runs)
    study = replace(study, alpha=look.alpha)
    limit = limits(recorded)
    pairs = _pairs(study, runs, limit)
    return _Judged(
        judge_pairs(pairs, study.margin, study.alpha, study.test),
        claims.answer(study, runs, recorded.budgets),
        _effects(study, runs, limit),
        across_tasks(pairs, study.alpha, study.test) or [],
    )


def limits(recorded: RecordedStudy) -> dict[str, float | None]:
    """By task, the budget in units of the primary cost; None where it does not limit that."""
    unit = MEASURES[recorded.study.primary].limit
    return {task: budget.get(unit) for task, budget in recorded.budgets.items()}


def _pairs(study: Study, runs: pd.DataFrame, limit: Mapping[str, float | None]) -> list[Pairs]:
    return [
        pair(runs, task, method, study.baseline, study.primary, limit.get(task)) for task, method in compared(study)
    ]


def _effects(study: Study, runs: pd.DataFrame, limit: Mapping[str, float | None]) -> list[Effect]:
    """On the tasks that all of a factorial ablation is run on."""
    declared = factorial_of(study)
    if declared is None:
        return []
    design, tasks = declared
    blocks = [factorial.block(runs, task, design, study.primary, limit.get(task)) for task in tasks]
    return factorial.judge_effects(blocks, design, study.margin, study.alpha, study.test)


def _secondary(study: Study, runs: pd.DataFrame) -> list[Exploratory]:
    """In the study's order; only what at least one pair of runs has."""
    there = set(zip(runs["task"], runs["method"], strict=True))
    found: list[Exploratory] = []
    for task, on_task in study.on.items():
        methods = [name for name in on_task.methods if (task, name) in there]
        if study.baseline in methods:
            found += secondary(runs, study.baseline, study.primary, study.alpha, methods, [task], study.test)
    return [ratio for ratio in found if ratio.n]
