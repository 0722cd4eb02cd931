"""Conjugate gradients for the damped Gauss-Newton system.

Problem    minimise q(x) = gᵀx + ½ xᵀAx, A = G + mu D + lambda I symmetric
           positive definite; the minimiser solves Ax = b, b = -g
Step       alpha = rᵀy/pᵀAp,  x ← x + alpha p,  r ← r - alpha Ap,  y = M⁻¹r
           beta = rᵀy/(the rᵀy before),  p ← y + beta p
Source     Hestenes and Stiefel (1952), algorithm 3:1; preconditioned as in
           Martens (2010), section 4.7
Symbols    G Gauss-Newton matrix, mu D weight decay, lambda damping, M
           preconditioner; x iterate, r = b - Ax residual, p direction (all
           shaped like the parameters); alpha step along p
Monotone   q decreases at every step; the residual norm need not
Cost       one product with A and one solve with M per step; four vectors
           besides x
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import ClassVar, final

from hfbench.inner_solve.iteration import Process, follow
from hfbench.linalg.scalars import Number, divide, scale_of, sqrt
from hfbench.parts import Breakdown, BuiltPreconditioner, System, Vector, part


@dataclass(frozen=True)
class CGState:
    """State of CG after k steps."""

    k: int
    x: Vector
    q: float  # by the recurrence q ← q - ½ alpha rᵀy: sums of one sign, nothing cancels
    residual: float  # ‖b - Ax‖ in the M⁻¹ norm
    reference: float  # ‖b‖ in the M⁻¹ norm
    products: float
    breakdown: Breakdown | None = None

    @property
    def relative_residual(self) -> float:
        return self.residual / self.reference


@final
@part
class CG:
    """Conjugate gradients on (G + mu D + lambda I) p = -g."""

    monotone: ClassVar[tuple[str, ...]] = ("q",)

    def iterates(self, system: System, x0: Vector | None, preconditioner: BuiltPreconditioner) -> Iterator[CGState]:
        """x_k minimises q over x0 + span{p_1 … p_k}. Ends at an exact solution or at pᵀAp <= 0 (Breakdown)."""
        b = -system.gradient
        scale = scale_of(b.norm())
        b.mul_(1 / scale)  # x is the system's own, all else is divided by the scale
        bMb = b.dot(preconditioner.solve(b))
        if bMb == 0:
            yield CGState(0, b.zeros_like(), 0.0, 0.0, 1.0, 0.0, Breakdown.ZERO_RIGHT_HAND_SIDE)
            return
        if x0 is None:
            x, r, q, products = b.zeros_like(), b.clone(), 0.0, 0
        else:
            x, r, products = x0, b.add(system.multiply(x0), -1 / scale), 1
            q = -0.5 * scale * (x.dot(b) + x.dot(r))
        del b, x0  # no longer needed, and large
        y = preconditioner.solve(r)
        ry, reference = r.dot(y), scale * math.sqrt(bMb)
        yield CGState(0, x, q, scale * sqrt(ry), reference, products)
        if ry <= 0:  # below by rounding
            return  # x solves the system
        process = steps(system, preconditioner, x, r, y, ry, scale)
        del r, y  # its own
        for k, (pAp, x_k, gain, ry_k) in zip(count(1), follow(process, system, preconditioner), strict=False):
            if pAp <= 0:  # the optimiser decides what a direction of non-positive curvature is worth
                residual = scale * sqrt(ry)
                yield CGState(k, x, q, residual, reference, products + k, Breakdown.NONPOSITIVE_CURVATURE)
                return
            x, q, ry = x_k, q - scale * scale * gain, ry_k
            yield CGState(k, x, q, scale * sqrt(ry), reference, products + k)
            if ry <= 0:
                return


def steps(
    system: System, preconditioner: BuiltPreconditioner, x: Vector, r: Vector, y: Vector, ry: Number, scale: float
) -> Process:
    """Process that keeps x, r, p, rᵀy and yields (pᵀAp, x, ½ alpha rᵀy, the new rᵀy) of step 1, 2, …; r is changed.

    r and y are those of the system divided by `scale`. p is kept in units of its first norm, since A p may overflow
    where A and p do not. Both are powers of two, so that nothing is rounded. alpha is that of p in units, and pᵀAp in
    their square.
    """
    unit = 2.0 ** math.frexp(y.norm())[1]
    p = y * (1 / unit)
    while True:
        Ap = system.multiply(p)
        pAp = p.inner(Ap)
        alpha = divide(ry, pAp * unit)
        x = x.add(p, alpha * scale)
        r.add_(Ap, -alpha)
        gain = 0.5 * alpha * ry / unit
        y = preconditioner.solve(r)
        ry, ry_old = r.inner(y), ry
        beta = divide(ry, ry_old)
        # rounded twice; `scale_add_`, which rounds once, moves late steps of the recorded run
        p.mul_(beta).add_(y, 1 / unit)
        yield (x, r, p, ry), (pAp, x, gain, ry)
