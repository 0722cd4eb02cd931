"""Chains of dense layers on a GPU, linearised at a small batch."""

from __future__ import annotations

from typing import Any

import torch

from hfbench.curvature.linearisation import Linearisation
from hfbench.linalg.vector import Vector
from support.systems import inputs_for, network, targets_for

SIZES = (20, 30, 10)


def linearised(cases: int = 64, seed: int = 1, **settings: Any) -> Linearisation:
    model = network(SIZES, 0).to("cuda", settings.pop("dtype", torch.float64))
    like = next(model.parameters())
    x, t = inputs_for(cases, 20, seed).to(like), targets_for("logistic", cases, 10, 2).to(like)
    return Linearisation(model, "logistic", x, t, **settings)


def direction(at: Linearisation, seed: int) -> Vector:
    draws = torch.Generator().manual_seed(seed)
    blocks = [torch.randn(b.shape, generator=draws, dtype=torch.float64).to(b) for b in at.blocks]
    return at.layout.pack(Vector(blocks))
