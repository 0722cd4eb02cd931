"""Outcome of a sweep, on one task and on all, as its report shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hfbench.config.study import Study
from hfbench.report.study_figures import Figure
from hfbench.sweep.carry_over import Cell
from hfbench.sweep.retest import Winner
from hfbench.sweep.trial_rows import Point, points
from hfbench.sweep.trials import Trial
from hfbench.sweep.tuning import Measures, TuningTask, mean, relative


@dataclass(frozen=True)
class TaskOutcome:
    """Outcome of a sweep on one task."""

    task: TuningTask
    trials: Mapping[int, Trial]
    frozen: Winner | None  # None for several objectives, where no trial is the best
    again: Mapping[int, Measures]  # what the trials that were tested again came to, by index

    @property
    def points(self) -> list[Point]:
        return points(self.trials, self.task.sweep)

    @property
    def index(self) -> int:
        """Index of the frozen trial; -1 if none is."""
        return -1 if self.frozen is None else self.frozen.index

    def retested(self) -> dict[int, tuple[float, ...]]:
        """The ratios of the re-tested trials, one for each objective."""
        base = self.again[0]
        return {
            index: tuple(
                math.exp(mean(relative(measures, base, objective))) for objective in self.task.sweep.objectives
            )
            for index, measures in self.again.items()
            if index and measures
        }


@dataclass(frozen=True)
class SweepOutcome:
    """Outcome of a sweep on all tasks, with everything that the report shows."""

    study: Study
    swept: Sequence[TaskOutcome]
    shares: Mapping[str, Mapping[str, Mapping[str, float]]]  # importance by task, evaluator and setting
    cells: Sequence[Cell]
    command: str
    variant: str = ""  # how the study differs from the one of its file, in words
    figures: list[Figure] = field(default_factory=list)
