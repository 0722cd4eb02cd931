"""Helmholtz' equation on a square, four half waves in one direction: a physics-informed network.

Equation   Δu + u = f in (-1, 1)²,  u = 0 on its boundary
Solution   u = sin(πx) sin(4πy), which gives f = (1 - 17π²) u
Network    2-32-32-1, tanh units; Glorot's normal weights, biases zero
Loss       ½ mean (Δu + u - f)² + ½ w mean u² at points of square and boundary
Error      ‖u - u*‖/‖u*‖ on a grid of 65 × 65 points; validation: at random
Source     Wang, Teng and Perdikaris (2021), "Understanding and mitigating
           gradient flow pathologies in physics-informed neural networks",
           section 2.4, where w = 1
"""

from __future__ import annotations

import math
from typing import ClassVar, final

import torch
from torch import Tensor

from hfbench.parts import part

from .collocation import ConditionWeight, Equation, ResidualTask, zero
from .common import Target


def _solution(x: Tensor) -> Tensor:
    """u = sin(πx) sin(4πy)."""
    return torch.sin(math.pi * x[:, 0]) * torch.sin(4 * math.pi * x[:, 1])


def _operator(x: Tensor, u: Tensor, du: Tensor, ddu: Tensor) -> Tensor:
    """Δu + u - f."""
    return ddu + u - (1 - 17 * math.pi**2) * _solution(x)


EQUATION = Equation(
    low=(-1.0, -1.0),
    high=(1.0, 1.0),
    kappa=(1.0, 1.0),
    operator=_operator,
    condition=zero,
    solution=_solution,
    faces=((0, 0), (0, 1), (1, 0), (1, 1)),
)


@final
@part
class Helmholtz(ResidualTask):
    """Helmholtz' equation on a square: residual network."""

    equation: ClassVar[Equation] = EQUATION

    weight: ConditionWeight = 100.0
    target: Target = 1e-3
