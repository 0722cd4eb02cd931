"""LSQR for the damped Gauss-Newton system in least-squares form.

Problem    minimise ‖Ãx - b̃‖; Ãᵀ(b̃ - Ãx) = 0 is the system (G + mu D + lambda I) x = -g
Source     Paige and Saunders (1982), sections 3 and 4. Damping is inside Ã: there is no separate damp
Symbols    y iterate of the preconditioned problem, w its direction (shaped like the parameters)
           c, s rotation; rho, theta entries of the bidiagonal R; phi of the rotated right-hand side; bars: not yet
Monotone   ‖b̃ - Ãx‖, hence q, decreases at every step. Without preconditioner x_k is CG's x_k on (1)
Cost       one product with Ã and one with Ãᵀ per step; two vectors shaped like the parameters, one like the residual
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import final

from hfbench.protocols import Breakdown, Factor, System
from hfbench.space import part
from hfbench.vector import Vector

from .bidiag import ShiftedProblem, Substitution, golub_kahan, sym_ortho


@dataclass(frozen=True)
class LSQRState:
    """What LSQR knows after k steps. x is formed only when asked for."""

    k: int
    substitution: Substitution
    y: Vector
    q: float  # q_0 - ½ Σ phi²: sums of one sign, where ½‖r̃‖² - ½‖b̃‖² would cancel
    residual: float  # ‖Ãᵀr̃‖ = ‖b - Ax‖ in the M⁻¹ norm
    residual_space_norm: float  # ‖r̃‖ = ‖b̃ - Ãx‖
    operator_norm: float  # ‖ÃE⁻ᵀ‖ in the Frobenius norm, as far as bidiagonalised
    products: float
    breakdown: Breakdown | None = None

    @cached_property
    def x(self) -> Vector:
        return self.substitution.x(self.y)

    @property
    def relative_residual(self) -> float:
        return self.substitution.relative(self.residual)

    @property
    def backward_error(self) -> float:
        """‖Ãᵀr̃‖ / (‖Ã‖‖r̃‖), preconditioned."""
        scale = self.operator_norm * self.residual_space_norm
        return self.residual / scale if scale > 0 else 0.0


@final
@part
class LSQR:
    """LSQR on min ‖Ãp - b̃‖: CG's iterates, from the bidiagonalisation of Ã."""

    def iterates(self, system: System, x0: Vector | None, preconditioner: Factor) -> Iterator[LSQRState]:
        """y_k minimises ‖By - f‖ over the k-th Krylov space. Ends when that space is exhausted."""
        problem = ShiftedProblem(system, x0, preconditioner)
        substitution = problem.substitution
        process = golub_kahan(problem)
        beta, v, alpha = next(process)
        y, w = v.zeros_like(), v.clone()
        phibar, rhobar, q = beta, alpha, problem.q0
        norm2 = alpha * alpha
        start = problem.products + 0.5
        breakdown = Breakdown.ZERO_RIGHT_HAND_SIDE if substitution.reference == 0 else None
        yield LSQRState(0, substitution, y, q, alpha * beta, beta, alpha, start, breakdown)
        if breakdown:
            return
        for k, (beta, v, alpha) in zip(count(1), process, strict=False):
            c, s, rho = sym_ortho(rhobar, beta)
            theta, rhobar = s * alpha, -c * alpha
            phi, phibar = c * phibar, s * phibar
            y = y.add(w, phi / rho)
            w.mul_(-theta / rho).add_(v)
            q -= 0.5 * phi * phi
            norm2 += beta * beta
            yield LSQRState(k, substitution, y, q, phibar * alpha * abs(c), phibar, math.sqrt(norm2), start + k)
            norm2 += alpha * alpha
