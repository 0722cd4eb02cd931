"""AdaHessian: Adam with a Hutchinson estimate of the Hessian's diagonal, as a baseline of studies.

Problem    as Adam's; `weight_decay` is decoupled and no part of f
Source     Yao and others (2021), algorithm 1, without spatial averaging; the
           implementation is that of the package pytorch-optimizer
Cost       3 units of every case per gradient, and 6 for a product with the
           Hessian every `every` updates
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
class AdaHessian(Minibatches):
    """Adam with the Hessian's diagonal: Yao and others (2021)."""

    lr: Annotated[float, Log(1e-3, 1.0), Within("(0, inf)"), "learning rate"] = 0.1
    beta1: Annotated[float, Linear(0.5, 0.99), Within("[0, 1)"), "decay of the mean gradient"] = 0.9
    beta2: Annotated[float, Linear(0.9, 0.9999), Within("[0, 1)"), "decay of the mean squared diagonal"] = 0.999
    power: Annotated[float, Linear(0.0, 1.0), Within("[0, 1]"), "power of the Hessian"] = 1.0
    weight_decay: Annotated[float, Log(1e-6, 1e-1), Within("[0, inf)"), "decoupled weight decay"] = 1e-4
    every: Annotated[int, Integers(1, 100, log=True), Within("[1, inf)"), "updates between two estimates"] = 1

    @property
    def takes_products(self) -> bool:
        return True

    def build(self, weights: list[nn.Parameter]) -> list[Optimizer]:
        settings = {"hessian_power": self.power, "weight_decay": self.weight_decay, "update_period": self.every}
        return [of_extra("AdaHessian")(weights, lr=self.lr, betas=(self.beta1, self.beta2), **settings)]
