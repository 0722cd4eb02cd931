"""AdamW on minibatches, as a baseline of studies.

Problem    as Adam's; `weight_decay` shrinks the weights beside the gradient,
           and is no part of f
Source     Loshchilov and Hutter (2019), algorithm 2; the implementation is
           torch's
Cost       3 units of every case per gradient
"""

from __future__ import annotations

from typing import Annotated, final

import torch
from torch import nn
from torch.optim import Optimizer

from hfbench.parts import Log, Within, part

from .adam_moments import AdamMoments


@final
@part
class AdamW(AdamMoments):
    """Adam, decoupled weight decay: Loshchilov & Hutter (2019)."""

    weight_decay: Annotated[float, Log(1e-6, 1e-1), Within("[0, inf)"), "decoupled weight decay"] = 1e-4

    def build(self, weights: list[nn.Parameter]) -> list[Optimizer]:
        fused = all(w.is_contiguous() for w in weights)  # otherwise its kernels take wrong entries
        return [torch.optim.AdamW(weights, **self.moments, weight_decay=self.weight_decay, fused=fused or None)]
