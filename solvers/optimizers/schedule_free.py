"""Schedule-free AdamW: an average of the iterates in place of a falling learning rate.

Problem    as Adam's; `weight_decay` is decoupled and no part of f. Errors are
           those of the averaged weights
Source     Defazio and others (2024), algorithm 1; the implementation is that of
           the package pytorch-optimizer
Cost       3 units of every case per gradient
"""

from __future__ import annotations

from typing import Annotated, final

from torch import nn
from torch.optim import Optimizer

from hfbench.parts import Integers, Linear, Log, Within, part

from .minibatches import Minibatches
from .optimizer_class import of_extra


@final
@part
class ScheduleFree(Minibatches):
    """AdamW on an average of its iterates: Defazio (2024)."""

    lr: Annotated[float, Log(1e-5, 1e-1), Within("(0, inf)"), "learning rate"] = 2.5e-3
    beta1: Annotated[
        float, Linear(0.5, 0.99), Within("[0, 1)"), "share of the average at which gradients are taken"
    ] = 0.9
    beta2: Annotated[float, Linear(0.9, 0.9999), Within("[0, 1)"), "decay of the mean square"] = 0.999
    weight_decay: Annotated[float, Log(1e-6, 1e-1), Within("[0, inf)"), "decoupled weight decay"] = 1e-4
    rise: Annotated[int, Integers(1, 1000, log=True), Within("[0, inf)"), "updates in which the rate rises"] = 50

    def build(self, weights: list[nn.Parameter]) -> list[Optimizer]:
        settings = {"weight_decay": self.weight_decay, "warmup_steps": self.rise}
        return [of_extra("ScheduleFreeAdamW")(weights, lr=self.lr, betas=(self.beta1, self.beta2), **settings)]
