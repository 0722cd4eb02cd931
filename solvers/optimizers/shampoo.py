"""Shampoo with grafting, as a baseline of studies.

Problem    as Adam's; `weight_decay` is decoupled and no part of f
Source     Gupta and others (2018); in the form of Anil and others (2020), with
           the step length of the diagonal method; the implementation is
           `ScalableShampoo` of the package pytorch-optimizer
Cost       3 units of every case per gradient; the roots of the factors every
           `every` updates are not counted
"""

from __future__ import annotations

from typing import Annotated, final

from torch import nn
from torch.optim import Optimizer

from hfbench.parts import Integers, Linear, Log, Within, part

from .minibatches import Minibatches
from .optimizer_class import of_extra

RMSPROP = 3  # in the package's list of methods whose step length can be grafted


@final
@part
class Shampoo(Minibatches):
    """Shampoo with grafted steps: Gupta (2018), Anil (2020)."""

    lr: Annotated[float, Log(1e-5, 1e-1), Within("(0, inf)"), "learning rate"] = 1e-3
    beta1: Annotated[float, Linear(0.5, 0.99), Within("[0, 1)"), "decay of the mean gradient"] = 0.9
    beta2: Annotated[float, Linear(0.9, 0.9999), Within("[0, 1)"), "decay of the factors"] = 0.999
    weight_decay: Annotated[float, Log(1e-6, 1e-1), Within("[0, inf)"), "decoupled weight decay"] = 1e-4
    every: Annotated[int, Integers(1, 100, log=True), Within("[1, inf)"), "updates between two roots"] = 10
    start: Annotated[int, Integers(1, 100, log=True), Within("[1, inf)"), "updates before the first root"] = 25

    def build(self, weights: list[nn.Parameter]) -> list[Optimizer]:
        decay = {"weight_decay": self.weight_decay, "decoupled_weight_decay": True}
        roots = {"preconditioning_compute_steps": self.every, "start_preconditioning_step": self.start}
        return [
            of_extra("ScalableShampoo")(
                weights, lr=self.lr, betas=(self.beta1, self.beta2), **decay, **roots, graft_type=RMSPROP
            )
        ]
