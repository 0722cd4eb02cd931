"""SophiaH: clipped steps divided by a Hutchinson estimate of the Hessian's diagonal, as a baseline of studies.

Problem    as Adam's; `weight_decay` is decoupled and no part of f
Source     Liu and others (2023), algorithms 1 and 3; the implementation is that
           of the package pytorch-optimizer
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
class SophiaH(Minibatches):
    """Clipped steps over the Hessian's diagonal: Liu (2023)."""

    lr: Annotated[float, Log(1e-5, 1e-1), Within("(0, inf)"), "learning rate"] = 6e-2
    beta1: Annotated[float, Linear(0.5, 0.99), Within("[0, 1)"), "decay of the mean gradient"] = 0.96
    beta2: Annotated[float, Linear(0.9, 0.9999), Within("[0, 1)"), "decay of the diagonal"] = 0.99
    clip: Annotated[float, Log(1e-3, 1.0), Within("(0, inf)"), "greatest entry of a step over lr, rho of the paper"] = (
        1e-2
    )
    weight_decay: Annotated[float, Log(1e-6, 1e-1), Within("[0, inf)"), "decoupled weight decay"] = 1e-4
    every: Annotated[int, Integers(1, 100, log=True), Within("[1, inf)"), "updates between two estimates"] = 10

    @property
    def takes_products(self) -> bool:
        return True

    def build(self, weights: list[nn.Parameter]) -> list[Optimizer]:
        settings = {"p": self.clip, "weight_decay": self.weight_decay, "update_period": self.every}
        return [of_extra("SophiaH")(weights, lr=self.lr, betas=(self.beta1, self.beta2), **settings)]
