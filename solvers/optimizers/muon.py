"""Muon for matrices, and AdamW for all other parameters, as its author does.

Problem    as Adam's; `weight_decay` is decoupled and no part of f
Source     Jordan and others (2024); the implementation is torch's (from 2.9),
           which orthogonalises in bfloat16
Cost       3 units of every case per gradient; the orthogonalisation, some ten
           products of matrices of weights, is not counted
"""

from __future__ import annotations

from typing import Annotated, final

import torch
from torch import nn
from torch.optim import Optimizer

from hfbench.errors import ConfigError
from hfbench.parts import Linear, Log, Within, part

from .minibatches import Minibatches


@final
@part
class Muon(Minibatches):
    """Orthogonalised momentum for matrices: Jordan (2024)."""

    lr: Annotated[float, Log(1e-4, 1e-1), Within("(0, inf)"), "learning rate of matrices"] = 2e-2
    momentum: Annotated[float, Linear(0.5, 0.99), Within("[0, 1)"), "share of the momentum that is kept"] = 0.95
    weight_decay: Annotated[float, Log(1e-6, 1e-1), Within("[0, inf)"), "decoupled weight decay"] = 1e-4
    rest_lr: Annotated[float, Log(1e-5, 1e-1), Within("(0, inf)"), "learning rate of AdamW, for the rest"] = 1e-3

    def build(self, weights: list[nn.Parameter]) -> list[Optimizer]:
        if not hasattr(torch.optim, "Muon"):
            raise ConfigError(
                f"the class torch.optim.Muon must be there, but PyTorch {torch.__version__} is before 2.9."
            )
        matrices, rest = ([w for w in weights if (w.dim() == 2) is wanted] for wanted in (True, False))
        decay = self.weight_decay
        made: list[Optimizer] = []
        if matrices:
            made.append(torch.optim.Muon(matrices, lr=self.lr, momentum=self.momentum, weight_decay=decay))
        if rest:
            made.append(torch.optim.AdamW(rest, lr=self.rest_lr, weight_decay=decay))
        return made
