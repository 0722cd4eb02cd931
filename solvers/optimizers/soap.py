"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner, as a baseline of studies.

Problem    as Adam's; `weight_decay` is decoupled and no part of f
Source     Vyas and others (2024), algorithm 3; the implementation is that of
           the package pytorch-optimizer
Cost       3 units of every case per gradient; the algebra on weights, a
           decomposition of both factors every `every` updates, is not counted
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
class SOAP(Minibatches):
    """Adam in the eigenbasis of Shampoo: Vyas and others (2024)."""

    lr: Annotated[float, Log(1e-5, 1e-1), Within("(0, inf)"), "learning rate"] = 3e-3
    beta1: Annotated[float, Linear(0.5, 0.99), Within("[0, 1)"), "decay of the mean gradient"] = 0.95
    beta2: Annotated[float, Linear(0.9, 0.9999), Within("[0, 1)"), "decay of the mean square and of the factors"] = 0.95
    weight_decay: Annotated[float, Log(1e-6, 1e-1), Within("[0, inf)"), "decoupled weight decay"] = 1e-4
    every: Annotated[int, Integers(1, 100, log=True), Within("[1, inf)"), "updates between two eigenbases"] = 10

    def build(self, weights: list[nn.Parameter]) -> list[Optimizer]:
        settings = {"weight_decay": self.weight_decay, "precondition_frequency": self.every}
        return [of_extra("SOAP")(weights, lr=self.lr, betas=(self.beta1, self.beta2), **settings)]
