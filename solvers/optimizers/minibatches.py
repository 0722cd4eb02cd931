"""Base of the baselines that go through the cases in minibatches, with a schedule, a warm-up and a precision."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated

from torch import nn
from torch.optim import Optimizer

from hfbench.parts import Choice, Integers, Log, Within, part

from .first_order import FirstOrder
from .learning_rates import SCHEDULES, LearningRates


@part
class Minibatches(ABC):
    """Settings that all of them have."""

    minibatch: Annotated[int, Integers(10, 1000, log=True), Within("[1, inf)"), "cases of one update"] = 100
    schedule: Annotated[str, Choice(*SCHEDULES), "course of the learning rate over the run"] = "constant"
    warmup: Annotated[float, Within("[0, 1)"), "share of the schedule in which the learning rate rises"] = 0.0
    span: Annotated[float, Log(0.1, 1.0), Within("(0, 1]"), "share of the run that the schedule spans"] = 1.0
    precision: Annotated[
        str, Choice("parameters", "bfloat16"), "of the passes: bfloat16 is autocast; narrow dense layers keep float32"
    ] = "parameters"

    @abstractmethod
    def build(self, weights: list[nn.Parameter]) -> list[Optimizer]:
        """Optimisers of the weights. The first is given f; the others follow the same gradient."""

    @property
    def takes_products(self) -> bool:
        """True if the optimiser differentiates the gradient that it is given."""
        return False

    @property
    def follows_length(self) -> bool:
        return self.rates.needs_horizon

    @property
    def rates(self) -> LearningRates:
        """The course of the learning rate."""
        return LearningRates(self.schedule, self.warmup, self.span)

    def begin(self, model: nn.Module, loss: str, mu_D: tuple[float, ...]) -> FirstOrder:
        """Begins the optimiser. One outer iteration is one pass over the scheduler's cases, in the order drawn."""
        return FirstOrder(
            model, loss, mu_D, self.build, self.minibatch, rates=self.rates,
            precision=self.precision, create_graph=self.takes_products,
        )  # fmt: skip
