"""The Allen-Cahn equation, layers sharpening: a physics-informed network in space and time.

Equation   u_t = 10⁻⁴ u_xx - 5u³ + 5u for -1 < x < 1, 0 < t ≤ 1,
           u(x, 0) = x² cos(πx), periodic in x. The solution is even, so that
           periodic means u_x = 0 at both ends, which is asked for here
Solution   a cosine series of 8192 terms in 256 steps (`cosine_series`), known
           at multiples of 1/64 in time: 6e-8 in the relative L2 norm from one
           of 16384 terms, most of it at the ends, where the start has a kink
Network    2-32-32-1, tanh units; Glorot's normal weights, biases zero
Loss       ½ mean (u_t - 10⁻⁴ u_xx + 5u³ - 5u)² + ½ w mean (u - g)² and u_x² at
           points inside, of the start, and of both ends
Error      ‖u - u*‖/‖u*‖ on a grid of 65 × 65 points; validation: at random
Source     Raissi, Perdikaris and Karniadakis (2019), "Physics-informed neural
           networks", section 3.2, for equation and start; Wight and Zhao (2020)
           for w = 100
"""

from __future__ import annotations

import math
from functools import cache
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from hfbench.parts import part

from .collocation import Boundary, ConditionWeight, Equation, Interior, ResidualTask
from .common import Target
from .cosine_series import Floats, cosine_series, series_at

KAPPA = 1e-4
TERMS, STEPS, LEVELS = 8192, 256, 64


def _solution(x: Tensor) -> Tensor:
    """u at points (n × 2) whose times are multiples of 1/64, in float64."""
    later = series_at(x, reference(TERMS, STEPS))
    return torch.where(x[:, 1] > 0, later, _condition(x))


@cache
def reference(terms: int, steps: int) -> Floats:
    """The cosine series at the times 0, 1/64, …, 1: computed once per process, in a second or two."""
    return cosine_series(lambda x: x**2 * np.cos(np.pi * x), lambda u: 5 * u - 5 * u**3, KAPPA, terms, steps, LEVELS)


def _operator(x: Tensor, u: Tensor, du: Tensor, ddu: Tensor) -> Tensor:
    """u_t - 10⁻⁴ u_xx + 5u³ - 5u."""
    return du[:, 1] - ddu + 5 * u * (u * u - 1)


def _condition(x: Tensor) -> Tensor:
    """x² cos(πx)."""
    return x[:, 0].square() * torch.cos(math.pi * x[:, 0])


EQUATION = Equation(
    axes=("x", "t"),
    low=(-1.0, 0.0),
    high=(1.0, 1.0),
    kappa=(KAPPA, 0.0),
    operator=_operator,
    condition=_condition,
    solution=_solution,
    faces=((1, 0),),
    slopes=((0, 0), (0, 1)),
    levels=LEVELS,
)


@final
@part
class AllenCahn(ResidualTask):
    """Allen-Cahn, layers sharpening: residual network."""

    equation: ClassVar[Equation] = EQUATION

    interior: Interior = 2000
    boundary: Boundary = 400
    weight: ConditionWeight = 100.0
    target: Target = 1e-2
