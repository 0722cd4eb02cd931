"""Adam on minibatches, as a baseline of studies.

Problem    minimise f(w) = (1/n) Σ loss(z_i, t_i) + ½ wᵀ(mu D)w, the Hessian-
           free methods' objective: weight decay is part of f and of its
           gradient, not decoupled from it
Source     Kingma and Ba (2015), algorithm 1; the implementation is torch's
Cost       one forward and one backward pass (3 units) of every case per
           gradient; no Gauss-Newton products
"""

from __future__ import annotations

from typing import Annotated, Any, final

import torch
from torch import nn

from hfbench.curvature.model_checks import trainable
from hfbench.parts import Integers, Linear, Log, Within, part

from .first_order import FirstOrder


@final
@part
class Adam:
    """Adam on minibatches: Kingma & Ba (2015)."""

    lr: Annotated[float, Log(1e-5, 1e-1), Within("(0, inf)"), "learning rate"] = 1e-3
    minibatch: Annotated[int, Integers(10, 1000, log=True), Within("[1, inf)"), "cases of one update"] = 100
    beta1: Annotated[float, Linear(0.5, 0.99), Within("[0, 1)"), "decay of the mean gradient"] = 0.9
    beta2: Annotated[float, Linear(0.9, 0.9999), Within("[0, 1)"), "decay of the mean square"] = 0.999
    eps: Annotated[float, Log(1e-10, 1e-4), Within("(0, 1]"), "added to the root mean square"] = 1e-8

    def begin(self, model: nn.Module, loss: str, mu_D: tuple[float, ...]) -> FirstOrder:
        """Begins the optimiser. One outer iteration is one pass over the scheduler's cases, in the order drawn."""
        settings: dict[str, Any] = {"lr": self.lr, "betas": (self.beta1, self.beta2), "eps": self.eps}
        fused = all(w.is_contiguous() for w in trainable(model).values())  # otherwise its kernels take wrong entries
        return FirstOrder(model, loss, mu_D, torch.optim.Adam, self.minibatch, **settings, fused=fused or None)
