"""Burgers' equation, a shock forming: a physics-informed network in space and time.

Equation   u_t + u u_x = ν u_xx for -1 < x < 1, 0 < t ≤ 1,  ν = 0.01/π,
           u(x, 0) = -sin(πx),  u(-1, t) = u(1, t) = 0
Solution   by the transformation of Cole and Hopf: with
           φ(y) = exp(-cos(πy)/(2πν)) and the kernel k(η) = exp(-η²/(4νt)),
           u = -∫ sin(π(x - η)) φ(x - η) k(η) dη / ∫ φ(x - η) k(η) dη, by
           the trapezoidal rule of 401 points, which is within 1e-14 of that of
           6401 on the test grid
Network    2-32-32-1, tanh units; Glorot's normal weights, biases zero
Loss       ½ mean (u_t + u u_x - ν u_xx)² + ½ w mean (u - g)² at points inside
           and on the three faces with conditions
Error      ‖u - u*‖/‖u*‖ on a grid of 65 × 65 points; validation: at random
Source     Basdevant et al. (1986), "Spectral and finite difference solutions of
           the Burgers equation", for solution and numbers; Raissi, Perdikaris
           and Karniadakis (2019) for networks
"""

from __future__ import annotations

import math
from typing import ClassVar, final

import torch
from torch import Tensor

from hfbench.parts import part

from .collocation import Boundary, Equation, Interior, ResidualTask
from .common import Target

NU = 0.01 / math.pi
NODES, ENDS = 401, 16.0  # of the integrals over η, in units of √(4νt)


def _solution(x: Tensor) -> Tensor:
    """u by Cole and Hopf, in float64; -sin(πx) at t = 0."""
    return cole_hopf(x, NODES, ENDS)


def cole_hopf(x: Tensor, nodes: int, ends: float) -> Tensor:
    """u at points (n × 2) by the trapezoidal rule, whose error for such integrands falls exponentially."""
    s = torch.linspace(-ends, ends, nodes, dtype=torch.float64)
    y = x[:, :1] - (4 * NU * x[:, 1:]).sqrt() * s  # x - η, with η² = 4νt s²
    exponent = -torch.cos(math.pi * y) / (2 * math.pi * NU) - s.square()
    weights = torch.exp(exponent - exponent.max(1, keepdim=True).values)
    return -(torch.sin(math.pi * y) * weights).sum(1) / weights.sum(1)


def _operator(x: Tensor, u: Tensor, du: Tensor, ddu: Tensor) -> Tensor:
    """u_t + u u_x - ν u_xx."""
    return du[:, 1] + u * du[:, 0] - ddu


def _condition(x: Tensor) -> Tensor:
    """-sin(πx), which is zero at both ends."""
    return -torch.sin(math.pi * x[:, 0])


EQUATION = Equation(
    axes=("x", "t"),
    low=(-1.0, 0.0),
    high=(1.0, 1.0),
    kappa=(NU, 0.0),
    operator=_operator,
    condition=_condition,
    solution=_solution,
    faces=((0, 0), (0, 1), (1, 0)),
)


@final
@part
class Burgers(ResidualTask):
    """Burgers' equation, a shock forming: residual network."""

    equation: ClassVar[Equation] = EQUATION

    interior: Interior = 2000
    boundary: Boundary = 400
    target: Target = 1e-3
