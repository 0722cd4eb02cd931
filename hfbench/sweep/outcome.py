"""Outcome of a sweep, on one task and on all, as its report shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hfbench.config.study import Study
from hfbench.report.headline import Headline
from hfbench.report.study_figures import Figure
from hfbench.statistics.comparisons import Comparison
from hfbench.sweep.carry_over import Cell
from hfbench.sweep.retest import Winner
from hfbench.sweep.trial_rows import Point, points
from hfbench.sweep.trials import COMPLETE, Trial
from hfbench.sweep.tuning import PASSES, Measures, TuningTask, feasible, log_of, mean, relative, spent


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

    def best_so_far(self) -> list[tuple[float, float]]:
        """After each trial the passes that all so far have taken, and the best objective of the complete ones.

        The objective is its geometric mean over the seeds. There is no point before the first complete trial.
        """
        objective, passes, best = self.task.sweep.objectives[0], 0.0, math.inf
        found = []
        for _, trial in sorted(self.trials.items()):
            passes += spent(trial, PASSES)
            if trial.state == COMPLETE and feasible(trial, self.trials[0], self.task.sweep):
                best = min(best, _geometric_mean(trial.measures, objective))
            if math.isfinite(best):
                found.append((passes, best))
        return found

    def objective_again(self, index: int) -> float:
        """Geometric mean of the objective over the seeds of the re-test."""
        return _geometric_mean(self.again[index], self.task.sweep.objectives[0])

    def taken(self, name: str, again: bool = False) -> float:
        """Seconds or passes that the trials took, or their re-test."""
        measures = self.again.values() if again else [trial.measures for trial in self.trials.values()]
        return sum(values.get(name, math.nan) for of_trial in measures for values in of_trial.values())


def _geometric_mean(measures: Measures, objective: str) -> float:
    return math.exp(mean({seed: log_of(values, objective) for seed, values in measures.items()}))


@dataclass(frozen=True)
class Compared:
    """What was frozen, compared on fresh seeds."""

    status: int = 0  # of the commands that made the runs
    tuned: Sequence[Comparison] = ()  # of several tuned methods with the baseline
    said: Headline | None = None  # of these
    cells: Sequence[Cell] = ()  # of the carry-over


@dataclass(frozen=True)
class SweepOutcome:
    """Outcome of a sweep on all tasks, with everything that the report shows."""

    study: Study
    swept: Sequence[TaskOutcome]
    shares: Mapping[str, Mapping[str, Mapping[str, float]]]  # importance by label of a task, evaluator and setting
    compared: Compared
    command: str
    variant: str = ""  # how the study differs from the one of its file, in words
    figures: list[Figure] = field(default_factory=list)
