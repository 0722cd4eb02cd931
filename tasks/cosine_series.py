"""Solutions of u_t = κ u_xx + r(u) on (-1, 1) with u_x = 0 at both ends, as cosine series in x at some times.

Series     u(x) = Σ_k c_k cos(kπ(x + 1)/2), k = 0 … m - 1; r is taken at the m points (2j + 1)/m - 1
Stepping   exponential time differencing, Runge-Kutta of fourth order: Cox and Matthews (2002), "Exponential time
           differencing for stiff systems", equations 26 to 29. Their coefficients are means over a circle in the
           complex plane, which cancel nothing: Kassam and Trefethen (2005), "Fourth-order time-stepping for stiff PDEs"
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from scipy.fft import dct, idct
from torch import Tensor

Floats = npt.NDArray[np.float64]
CIRCLE = 32  # points


def cosine_series(
    start: Callable[[Floats], Floats],
    reaction: Callable[[Floats], Floats],
    kappa: float,
    terms: int,
    steps: int,
    levels: int,
) -> Floats:
    """Coefficients (levels + 1) × terms at the times 0, 1/levels, …, 1. `steps` must be a multiple of `levels`."""
    x = (2 * np.arange(terms) + 1) / terms - 1
    rate = -kappa * (np.pi * np.arange(terms) / 2) ** 2
    h = 1 / steps
    whole, half = np.exp(h * rate), np.exp(h * rate / 2)
    Q, f_1, f_2, f_3 = _coefficients(h * rate)
    c = _coefficients_of(start(x))
    kept = [c]
    for step in range(1, steps + 1):
        N_c = _applied(reaction, c)
        a = half * c + h * Q * N_c
        N_a = _applied(reaction, a)
        b = half * c + h * Q * N_a
        N_b = _applied(reaction, b)
        d = half * a + h * Q * (2 * N_b - N_c)
        c = whole * c + h * (f_1 * N_c + 2 * f_2 * (N_a + N_b) + f_3 * _applied(reaction, d))
        if step % (steps // levels) == 0:
            kept.append(c)
    return np.array(kept)


def series_at(points: Tensor, coefficients: Floats) -> Tensor:
    """The series at points (n × 2) whose times are multiples of 1/levels, in float64."""
    c = torch.from_numpy(coefficients)
    level = (points[:, 1].double() * (len(c) - 1)).round().long()
    k = torch.arange(c.shape[1], dtype=torch.float64)
    found = torch.empty(len(points), dtype=torch.float64)
    for begin in range(0, len(points), 512):
        some = slice(begin, begin + 512)
        angles = math.pi / 2 * (points[some, :1].double() + 1) * k
        found[some] = (c[level[some]] * angles.cos()).sum(1)
    return found


def _coefficients_of(values: Floats) -> Floats:
    """c of the values at the points."""
    c = np.asarray(dct(values, type=2)) / len(values)
    c[0] /= 2
    return c


def _applied(reaction: Callable[[Floats], Floats], c: Floats) -> Floats:
    """Coefficients of r(u)."""
    scaled = c * len(c)
    scaled[0] *= 2
    return _coefficients_of(reaction(np.asarray(idct(scaled, type=2))))


def _coefficients(L: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Of one step: (e^{L/2} - 1)/L and the three of equation 29, as means over circles around L."""
    z = L[:, None] + np.exp(1j * np.pi * (np.arange(CIRCLE) + 0.5) / CIRCLE)
    e = np.exp(z)
    means = (
        (np.exp(z / 2) - 1) / z,
        (-4 - z + e * (4 - 3 * z + z**2)) / z**3,
        (2 + z + e * (-2 + z)) / z**3,
        (-4 - 3 * z - z**2 + e * (4 - z)) / z**3,
    )
    Q, f_1, f_2, f_3 = (np.asarray(part.mean(1).real, dtype=np.float64) for part in means)
    return Q, f_1, f_2, f_3
