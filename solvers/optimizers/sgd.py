"""Stochastic gradient descent with momentum, as a baseline of studies.

Problem    minimise f(w) = (1/n) Σ loss(z_i, t_i) + ½ wᵀ(mu D)w, the Hessian-
           free methods' objective
Source     Polyak (1964) and Nesterov (1983), in the form of Sutskever and
           others (2013); the implementation is torch's
Cost       3 units of every case per gradient
"""

from __future__ import annotations

from typing import Annotated, final

import torch
from torch import nn
from torch.optim import Optimizer

from hfbench.parts import Choice, Linear, Log, Within, part

from .minibatches import Minibatches


@final
@part
class SGD(Minibatches):
    """SGD with Nesterov's momentum: Sutskever (2013)."""

    lr: Annotated[float, Log(1e-4, 1.0), Within("(0, inf)"), "learning rate"] = 1e-2
    momentum: Annotated[float, Linear(0.0, 0.99), Within("[0, 1)"), "share of the last update that is kept"] = 0.9
    nesterov: Annotated[bool, Choice(True, False), "take the gradient where momentum leads"] = True

    def build(self, weights: list[nn.Parameter]) -> list[Optimizer]:
        nesterov = self.nesterov and self.momentum > 0  # torch refuses it without momentum
        return [torch.optim.SGD(weights, lr=self.lr, momentum=self.momentum, nesterov=nesterov)]
