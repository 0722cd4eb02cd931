"""Training until a test error is reached, on a clock that counts the steps only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from hfbench.parts.protocols import BatchPlan, Task, TaskData
from hfbench.runs import batches
from hfbench.runs.evaluation import mean_error
from hfbench.runs.random_streams import generator

from .timing import Clock, seconds

Cases = tuple[Tensor, Tensor]  # inputs and targets
Step = Callable[[Tensor, Tensor, Cases | None], object]  # the gradient's, and the curvature's where they are others


@dataclass(frozen=True)
class Outcome:
    """End of a training: at the target, or at the limit of seconds."""

    seconds: float
    steps: int
    error: float
    reached: bool


@dataclass(frozen=True)
class Course:
    """Settings common to all sides: task, data, batches by seed and step, target and limit."""

    task: Task
    data: TaskData
    plan: BatchPlan
    seed: int
    target: float
    limit: float
    clock: Clock

    def run(self, model: nn.Module, step: Step) -> Outcome:
        """Steps until the test error is at most the target. It is evaluated after each step, with the clock stopped."""
        train, spent, error, done = self.data.train, 0.0, float("inf"), 0
        while not error <= self.target and spent < self.limit:
            done += 1
            cases, some = batches.draw_cases(self.plan, done, len(train), generator(self.seed, f"batches/{done}"))
            inputs, targets = train.inputs[cases], train.targets[cases]
            curvature = None if some is cases else (train.inputs[some], train.targets[some])
            spent += seconds(partial(step, inputs, targets, curvature), self.clock)
            error = mean_error(model, self.task, self.data.test)
        return Outcome(spent, done, error, error <= self.target)
