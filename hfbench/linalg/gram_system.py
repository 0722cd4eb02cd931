"""Minimum of a quadratic over a few directions, from its Gram matrix K = VᵀAV and the slopes s = Vᵀb, in float64.

    q(x + V c) - q(x) = ½ cᵀKc - sᵀc,    least at K c = s
Directions may be parallel, or vanish.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def minimiser(K: Tensor, s: Tensor, ridge: float, rounding: float) -> Tensor:
    """The c of least norm with (K + ridge) c = s, K scaled to a unit diagonal; NaN if K is not finite.

    Directions of zero length get no coefficient; without a ridge, combinations that vanish up to rounding neither.
    """
    if not torch.isfinite(K).all():
        return torch.full_like(s, math.nan)
    squares = K.diagonal()
    scale = torch.where(squares > 0, squares.rsqrt(), 0.0)
    unit = K * scale[:, None] * scale
    if ridge:
        C, failed = torch.linalg.cholesky_ex(unit + ridge * torch.eye(len(K), dtype=K.dtype))
        if not failed:
            solved: Tensor = scale * torch.cholesky_solve((scale * s)[:, None], C)[:, 0]
            return solved
    values, Q = torch.linalg.eigh(unit)
    damped = values.clamp(min=0.0) + ridge  # a Gram matrix: what is below zero is rounding
    inverse = torch.where(damped > (0.0 if ridge else rounding), 1 / damped, 0.0)
    c: Tensor = scale * (Q @ (inverse * (Q.T @ (scale * s))))
    return c


def gain(K: Tensor, s: Tensor, c: Tensor) -> float:
    """Change of q along V c."""
    return float(0.5 * c @ K @ c - s @ c)
