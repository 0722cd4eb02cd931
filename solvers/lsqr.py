"""LSQR for the damped Gauss-Newton system in least-squares form.

Problem    minimise ‖Ãx - b̃‖, ÃᵀÃ = G + mu D + lambda I, Ãᵀb̃ = -g: the normal
           equation Ãᵀ(b̃ - Ãx) = 0 is the system (G + mu D + lambda I) x = -g
Step       bidiagonalisation, then one rotation, then two vectors:
           beta⁺u⁺ = Ãv - alpha u,  alpha⁺v⁺ = Ãᵀu⁺ - beta⁺v
           (c, s) turns B_k into the bidiagonal R_k
           y ← y + phi/rho w,  w ← v - theta/rho w
Source     Paige and Saunders (1982), sections 3 and 4. Damping is inside Ã:
           there is no separate damp
Symbols    G Gauss-Newton matrix, mu D weight decay, lambda damping; u, v,
           alpha, beta of the bidiagonal B, ⁺ the next; y iterate of the
           preconditioned problem, w its direction (shaped like the
           parameters); c, s rotation; rho, theta entries of R; phi of the
           rotated right-hand side; bars: not yet rotated
Monotone   ‖b̃ - Ãx‖, hence q, decreases at every step. Without preconditioner
           x_k is CG's x_k on the system
Cost       one product with Ã and one with Ãᵀ per step; two vectors shaped
           like the parameters, one like the residual
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count
from typing import ClassVar, final

from hfbench.parts import Breakdown, BuiltPreconditioner, System, Vector, part

from .bidiagonalisation import BidiagonalState, ShiftedProblem, golub_kahan, sym_ortho


@final
@part
class LSQR:
    """LSQR on min ‖Ãx - b̃‖: CG's iterates by bidiagonalising."""

    monotone: ClassVar[tuple[str, ...]] = ("q",)

    def iterates(
        self, system: System, x0: Vector | None, preconditioner: BuiltPreconditioner
    ) -> Iterator[BidiagonalState]:
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
        yield BidiagonalState(0, substitution, y, q, alpha * beta, beta, alpha, start, breakdown)
        if breakdown:
            return
        for k, (beta, v, alpha) in zip(count(1), process, strict=False):
            c, s, rho = sym_ortho(rhobar, beta)
            theta, rhobar = s * alpha, -c * alpha
            phi, phibar = c * phibar, s * phibar
            y = y.add(w, phi / rho)
            w.scale_add_(-theta / rho, v)
            q -= 0.5 * phi * phi  # sums of one sign, where ½‖r̃‖² - ½‖b̃‖² would cancel
            norm2 += beta * beta
            yield BidiagonalState(k, substitution, y, q, phibar * alpha * abs(c), phibar, math.sqrt(norm2), start + k)
            norm2 += alpha * alpha
