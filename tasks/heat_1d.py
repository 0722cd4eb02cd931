"""The heat equation on an interval: a physics-informed network in space and time.

Equation   u_t = ¼ u_xx for 0 < x < 1, 0 < t ≤ 1,  u(x, 0) = sin(πx),
           u(0, t) = u(1, t) = 0
Solution   u = exp(-π²t/4) sin(πx)
Network    2-32-32-1, tanh units; Glorot's normal weights, biases zero
Loss       ½ mean (u_t - ¼ u_xx)² + ½ w mean (u - g)² at points inside and on
           the three faces with conditions
Error      ‖u - u*‖/‖u*‖ on a grid of 65 × 65 points; validation: at random
Source     Müller and Zeinhofer (2023), "Achieving high accuracy with PINNs via
           energy natural gradient descent", section 4.2
"""

from __future__ import annotations

import math
from typing import ClassVar, final

import torch
from torch import Tensor

from hfbench.parts import part

from .collocation import Equation, ResidualTask


def _solution(x: Tensor) -> Tensor:
    """u = exp(-π²t/4) sin(πx)."""
    return torch.exp(-(math.pi**2) / 4 * x[:, 1]) * torch.sin(math.pi * x[:, 0])


def _operator(x: Tensor, u: Tensor, du: Tensor, ddu: Tensor) -> Tensor:
    """u_t - ¼ u_xx."""
    return du[:, 1] - ddu


EQUATION = Equation(
    axes=("x", "t"),
    low=(0.0, 0.0),
    high=(1.0, 1.0),
    kappa=(0.25, 0.0),
    operator=_operator,
    condition=_solution,
    solution=_solution,
    faces=((0, 0), (0, 1), (1, 0)),
)


@final
@part
class Heat1D(ResidualTask):
    """Heat equation in space and time: residual network."""

    equation: ClassVar[Equation] = EQUATION
