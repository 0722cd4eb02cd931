"""Poisson's equation on the unit square: a physics-informed network.

Equation   -Δu = f in (0, 1)²,  u = 0 on its boundary,  f = 2π² sin(πx) sin(πy)
Solution   u = sin(πx) sin(πy)
Network    2-32-32-1, tanh units; Glorot's normal weights, biases zero
Loss       ½ mean (Δu + f)² + ½ w mean u² at points of square and boundary
Error      ‖u - u*‖/‖u*‖ on a grid of 65 × 65 points; validation: at random
Source     Müller and Zeinhofer (2023), "Achieving high accuracy with PINNs via
           energy natural gradient descent", section 4.1
"""

from __future__ import annotations

import math
from typing import ClassVar, final

import torch
from torch import Tensor

from hfbench.parts import part

from .collocation import Equation, ResidualTask, zero


def _solution(x: Tensor) -> Tensor:
    """u = sin(πx) sin(πy)."""
    return torch.sin(math.pi * x[:, 0]) * torch.sin(math.pi * x[:, 1])


def _operator(x: Tensor, u: Tensor, du: Tensor, ddu: Tensor) -> Tensor:
    """Δu + f."""
    return ddu + 2 * math.pi**2 * _solution(x)


EQUATION = Equation(
    low=(0.0, 0.0),
    high=(1.0, 1.0),
    kappa=(1.0, 1.0),
    operator=_operator,
    condition=zero,
    solution=_solution,
    faces=((0, 0), (0, 1), (1, 0), (1, 1)),
)


@final
@part
class Poisson2D(ResidualTask):
    """Poisson's equation on a square: residual network."""

    equation: ClassVar[Equation] = EQUATION
