"""Families of a study: what is tested together, as its file declares it before any run."""

from __future__ import annotations

from hfbench.config.hypotheses import Hypothesis
from hfbench.config.study import Study
from hfbench.statistics.factorial import Design


def compared(study: Study) -> list[tuple[str, str]]:
    """Task and method of every comparison with the baseline."""
    return [
        (task, method) for task, on_task in study.on.items() for method in on_task.methods if method != study.baseline
    ]


def claimed(study: Study) -> list[tuple[Hypothesis, str]]:
    """Every hypothesis on every task that runs both of its methods."""
    return [
        (hypothesis, task)
        for hypothesis in study.hypotheses
        for task, on_task in study.on.items()
        if {hypothesis.method, hypothesis.against} <= set(on_task.methods)
    ]


def factorial_of(study: Study) -> tuple[Design, list[str]] | None:
    """The design of a factorial ablation and the tasks that all of it is run on; None where there is none."""
    if study.ablation is None or study.ablation.design != "factorial":
        return None
    design = Design(study.ablation.factors, study.ablation.levels)
    return design, [task for task, on_task in study.on.items() if set(design.levels) <= set(on_task.methods)]
