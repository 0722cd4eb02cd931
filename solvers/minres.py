"""MINRES for the damped Gauss-Newton system.

Problem    minimise ‖b - Ax‖ in the M⁻¹ norm over the Krylov spaces, b = -g,
           A = G + mu D + lambda I symmetric; if A is positive definite, its
           limit minimises q(x) = gᵀx + ½ xᵀAx
Step       Lanczos process, then two rotations, then two vectors:
           beta⁺w⁺ = Av - alpha w - beta w_old,  v⁺ = M⁻¹w⁺
           delta2 = c delta + s alpha,  gamma = s delta - c alpha
           (c⁺, s⁺) takes (gamma, beta⁺) to (gamma2, 0)
           d⁺ = (v - delta2 d - epsilon d_old)/gamma2,  x ← x + c⁺phi d⁺
           phi ← s⁺phi
Curvature  the residual r of the step before has, preconditioned, rᵀAr =
           curvature·‖r‖² with curvature = -c gamma. The first that is <= 0
           comes as soon as the Krylov space shows that A is not definite
q          x_k = c² x'_k + s² x_(k-1) with CG's iterate x'_k, and x'_k differs
           A-orthogonally from the solution; so, with the gap q(x_(k-1)) -
           q(x'_k),
           gap ← gap + ½ phi²/curvature,  q ← q - (1 - s⁴) gap,  gap ← s⁴ gap
           in scalars alone, as sums of terms of one sign
Source     Paige and Saunders (1975), in the notation of Choi, Paige and
           Saunders (2011), section 2; curvature: Liu and Roosta (2022); that
           q falls: Fong and Saunders (2012), section 2
Symbols    G Gauss-Newton matrix, mu D weight decay, lambda damping, M
           preconditioner; v, w = Mv of the Lanczos process, vᵀw = 1, ⁺ the
           next; alpha, beta entries of its tridiagonal T; d directions, x
           iterate (all shaped like the parameters); c, s rotations; gamma2,
           delta2, epsilon entries of R; phi = ‖b - Ax‖
Monotone   ‖b - Ax‖ in the M⁻¹ norm and, A being positive definite, q decrease
           at every step
Cost       one product with A and one solve with M per step; seven vectors
           besides x
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import ClassVar, final

from hfbench.inner_solve.iteration import Process, follow
from hfbench.linalg.scalars import Number, sqrt
from hfbench.parts import Breakdown, BuiltPreconditioner, System, Vector, part

from .bidiagonalisation import sym_ortho


@dataclass(frozen=True)
class MINRESState:
    """State of MINRES after k steps."""

    k: int
    x: Vector
    q: float
    residual: float  # ‖b - Ax‖ in the M⁻¹ norm
    reference: float  # ‖b‖ in the M⁻¹ norm
    products: float
    breakdown: Breakdown | None = None

    @property
    def relative_residual(self) -> float:
        return self.residual / self.reference


@final
@part
class MINRES:
    """MINRES on (G + mu D + lambda I) p = -g."""

    monotone: ClassVar[tuple[str, ...]] = ("relative_residual", "q")

    def iterates(self, system: System, x0: Vector | None, preconditioner: BuiltPreconditioner) -> Iterator[MINRESState]:
        """x_k has the least residual over x0 + span{v_1 … v_k}. Ends at an exact solution or rᵀAr <= 0 (Breakdown)."""
        b = -system.gradient
        reference = math.sqrt(b.dot(preconditioner.solve(b)))
        if reference == 0:
            yield MINRESState(0, b.zeros_like(), 0.0, 0.0, 1.0, 0.0, Breakdown.ZERO_RIGHT_HAND_SIDE)
            return
        if x0 is None:
            x, r, q, products = b.zeros_like(), b, 0.0, 0
        else:
            x, r, products = x0, b - system.multiply(x0), 1
            q = -0.5 * (x.dot(b) + x.dot(r))
        y = preconditioner.solve(r)
        phi = sqrt(r.dot(y))
        yield MINRESState(0, x, q, phi, reference, products)
        c, s, delta, epsilon, gap = -1.0, 0.0, 0.0, 0.0, 0.0
        d = d_old = b.zeros_like()
        for k, (v, alpha, beta) in zip(count(1), lanczos(system, preconditioner, r, y, phi), strict=False):
            # the rotation of the step before, on column k of T
            delta2, gamma = c * delta + s * alpha, s * delta - c * alpha
            curvature = -c * gamma
            if curvature <= 0:  # the optimiser decides what that is worth
                yield MINRESState(k, x, q, phi, reference, products + k, Breakdown.NONPOSITIVE_CURVATURE)
                return
            gap += 0.5 * phi * phi / curvature
            epsilon_k, epsilon, delta = epsilon, s * beta, -c * beta
            # the rotation that makes column k of R
            c, s, gamma2 = sym_ortho(gamma, beta)
            d, d_old = v.add(d, -delta2).add_(d_old, -epsilon_k).mul_(1 / gamma2), d
            x = x.add(d, c * phi)
            phi *= s
            q -= c * c * (1 + s * s) * gap
            gap *= s**4
            yield MINRESState(k, x, q, phi, reference, products + k)


def lanczos(
    system: System, preconditioner: BuiltPreconditioner, r: Vector, y: Vector, norm: float
) -> Iterator[tuple[Vector, float, float]]:
    """(v_k, alpha_k, beta_{k+1}) for k = 1, 2, …, from r, y = M⁻¹r and norm = √rᵀy; ends with the Krylov space.

    A V_k = W_k T_k + beta_{k+1} w_{k+1} e_kᵀ, W = M V and VᵀW = I.
    """
    if norm == 0:
        return
    for v, alpha, beta in follow(_tridiagonalise(system, preconditioner, r, y, norm), system, preconditioner):
        yield v, alpha, beta
        if beta == 0:  # NaN goes on, for the driver to see
            return


def _tridiagonalise(system: System, preconditioner: BuiltPreconditioner, r: Vector, y: Vector, beta: Number) -> Process:
    """The same without end, with numbers that may stay on the device; the process keeps w, p, y and beta."""
    w, p = r.zeros_like(), r
    while True:
        w_old, w, v = w, p * (1 / beta), y * (1 / beta)
        p = system.multiply(v).add(w_old, -beta)
        alpha = v.inner(p)
        p.add_(w, -alpha)
        y = preconditioner.solve(p)
        beta = sqrt(p.inner(y))
        yield (w, p, y, beta), (v, alpha, beta)
