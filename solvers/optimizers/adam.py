"""Adam on minibatches, as a baseline of studies.

Problem    minimise f(w) = (1/n) Σ loss(z_i, t_i) + ½ wᵀ(mu D)w, the Hessian-
           free methods' objective: weight decay is part of f and of its
           gradient, not decoupled from it
Source     Kingma and Ba (2015), algorithm 1; the implementation is torch's
Cost       one forward and one backward pass (3 units) of every case per
           gradient; no Gauss-Newton products
"""

from __future__ import annotations

from functools import partial
from typing import final

import torch
from torch import nn
from torch.optim import Optimizer

from hfbench.parts import part

from .adam_moments import AdamMoments
from .first_order import FirstOrder, decay_groups


@final
@part
class Adam(AdamMoments):
    """Adam on minibatches: Kingma & Ba (2015)."""

    def build(self, weights: list[nn.Parameter]) -> list[Optimizer]:
        return self._with_decay(weights, (0.0,) * len(weights))

    def begin(self, model: nn.Module, loss: str, mu_D: tuple[float, ...]) -> FirstOrder:
        """Begins the optimiser, whose fused kernel adds mu D w to the gradient."""
        return FirstOrder(
            model, loss, mu_D, partial(self._with_decay, mu_D=mu_D), self.minibatch,
            rates=self.rates, precision=self.precision, adds_decay=True,
        )  # fmt: skip

    def _with_decay(self, weights: list[nn.Parameter], mu_D: tuple[float, ...]) -> list[Optimizer]:
        fused = all(w.is_contiguous() for w in weights)  # otherwise its kernels take wrong entries
        return [torch.optim.Adam(decay_groups(weights, mu_D), **self.moments, fused=fused or None)]
