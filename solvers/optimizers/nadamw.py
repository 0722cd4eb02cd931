"""NAdamW: Adam with Nesterov's momentum and decoupled weight decay, with warm-up and cosine by default.

Problem    as Adam's; `weight_decay` is decoupled and no part of f
Source     Dozat (2016), algorithm 8; with warm-up and cosine the baseline of
           the AlgoPerf competition, Dahl and others (2023); the
           implementation is torch's
Cost       3 units of every case per gradient
"""

from __future__ import annotations

from typing import Annotated, final

import torch
from torch import nn
from torch.optim import Optimizer

from hfbench.parts import Choice, Log, Within, part

from .adam_moments import AdamMoments
from .learning_rates import SCHEDULES


@final
@part
class NAdamW(AdamMoments):
    """Nesterov's Adam, warm-up, cosine: Dahl and others (2023)."""

    schedule: Annotated[str, Choice(*SCHEDULES), "course of the learning rate over the run"] = "cosine"
    warmup: Annotated[float, Within("[0, 1)"), "share of the schedule in which the learning rate rises"] = 0.05
    weight_decay: Annotated[float, Log(1e-6, 1e-1), Within("[0, inf)"), "decoupled weight decay"] = 1e-4

    def build(self, weights: list[nn.Parameter]) -> list[Optimizer]:
        decay = self.weight_decay
        return [torch.optim.NAdam(weights, **self.moments, weight_decay=decay, decoupled_weight_decay=True)]
