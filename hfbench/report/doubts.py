"""Doubts about a study whose runs cannot answer it: tasks that the first step decides, methods that are the same."""

from __future__ import annotations

from collections.abc import Iterator

from hfbench.config.duplicate_methods import duplicate_methods
from hfbench.records.recorded_study import RecordedStudy

# What ended all runs of a task at their first step, and what to do.
AT_FIRST_STEP = {
    "reached": "reached the target with the first step: it tells nothing of training. Lower study.targets.{task}.",
    "budget": "were ended by the budget after the first step: it tells nothing of training. Raise the budget.",
}


def doubts(recorded: RecordedStudy) -> list[str]:
    """A sentence for each."""
    return [*duplicate_methods(recorded.study), *_decided_at_first_step(recorded)]


def _decided_at_first_step(recorded: RecordedStudy) -> Iterator[str]:
    runs = recorded.judged
    for task in recorded.study.tasks:
        of_task = runs[runs["task"] == task]
        outcomes = set(of_task["outcome"])
        if len(outcomes) == 1 and (of_task["iterations"] == 1).all():
            said = AT_FIRST_STEP.get(outcomes.pop())
            if said is not None:
                yield f"All runs on {task} {said.format(task=task)}"
