"""MINRES for the damped Gauss-Newton system, in the form of conjugate residuals.

Problem    minimise ‖b - Ax‖ in the M⁻¹ norm over the Krylov spaces, b = -g,
           A = G + mu D + lambda I symmetric; if A is positive definite, its
           limit minimises q(x) = gᵀx + ½ xᵀAx
Step       beta = zᵀAz/(the zᵀAz before),  p ← z + beta p,  Ap ← Az + beta Ap
           alpha = zᵀAz/(Ap)ᵀM⁻¹Ap,  x ← x + alpha p
           r ← r - alpha Ap,  z ← z - alpha M⁻¹Ap
q          q ← q - alpha (rᵀp - ½ alpha pᵀAp), with the r before
Rounding   x and r move along the same p, as in CG, so that r, and q with it,
           follows x. With Lanczos vectors and rotations (Paige and
           Saunders, 1975), which give the same x_k in exact arithmetic, x
           comes from another recurrence than ‖b - Ax‖. Its error grows by
           cond(A)², and neither ‖b - Ax‖ nor q tells: Sleijpen, van der Vorst
           and Modersitzki (2000). The rounding of A x itself stays: once
           ‖b - Ax‖ is near eps ‖A‖‖x‖, what is told of it is too small, as
           with CG, LSQR and LSMR
Curvature  zᵀAz, that of the residual. The first that is <= 0 comes as soon as
           the Krylov space shows that A is not definite: Liu and Roosta (2022)
Source     Stiefel (1955); that these are MINRES's x_k if A is positive
           definite, and that q falls: Fong and Saunders (2012), sections 1, 2
Symbols    G Gauss-Newton matrix, mu D weight decay, lambda damping, M
           preconditioner; x iterate, r = b - Ax residual, z = M⁻¹r, p
           direction (all shaped like the parameters); alpha step along p
Monotone   ‖b - Ax‖ in the M⁻¹ norm and, A being positive definite, q decrease
           at every step
Cost       one product with A and one solve with M per step; six vectors
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
        """x_k has the least residual over x0 + span{p_1 … p_k}. Ends at an exact solution or zᵀAz <= 0 (Breakdown)."""
        b = -system.gradient
        scale = scale_of(b.norm())
        b.mul_(1 / scale)
        reference = scale * math.sqrt(b.dot(preconditioner.solve(b)))
        if reference == 0:
            yield MINRESState(0, b.zeros_like(), 0.0, 0.0, 1.0, 0.0, Breakdown.ZERO_RIGHT_HAND_SIDE)
            return
        if x0 is None:
            x, r, q, products = b.zeros_like(), b, 0.0, 0
        else:
            x, r, products = x0, b.add(system.multiply(x0), -1 / scale), 1
            q = -0.5 * scale * (x.dot(b) + x.dot(r))
        del b, x0  # no longer needed, and large
        z = preconditioner.solve(r)
        norm = sqrt(r.dot(z))
        phi = scale * norm
        yield MINRESState(0, x, q, phi, reference, products)
        if phi == 0:
            return  # x solves the system
        # Of norm 1, since the product with a large residual may overflow.
        process = conjugate_residuals(system, preconditioner, x, r * (1 / norm), z * (1 / norm), phi)
        del r, z
        start = phi
        for k, (zAz, ApMAp, x_k, gain, rz) in zip(count(1), follow(process, system, preconditioner), strict=False):
            if zAz <= 0:  # the optimiser decides what that is worth
                yield MINRESState(k, x, q, phi, reference, products + k, Breakdown.NONPOSITIVE_CURVATURE)
                return
            if ApMAp <= 0:
                return  # what is left of r is rounding
            x, q, phi = x_k, q - start * start * gain, start * sqrt(rz)
            yield MINRESState(k, x, q, phi, reference, products + k)
            if phi == 0:
                return


def conjugate_residuals(
    system: System, preconditioner: BuiltPreconditioner, x: Vector, r: Vector, z: Vector, scale: float
) -> Process:
    """Process that keeps x, r, z, p, Ap, zᵀAz and yields (zᵀAz, (Ap)ᵀM⁻¹Ap, x, the decrease of q, the new rᵀz).

    r, z and p are those of the system divided by `scale`, and the decrease of q is divided by its square; r and z are
    changed.
    """
    p, Ap = r.zeros_like(), r.zeros_like()
    zAz: Number = math.inf
    while True:
        Az = system.multiply(z)
        zAz, zAz_old = z.inner(Az), zAz
        beta = divide(zAz, zAz_old)
        p, Ap = z.add(p, beta), Az.add(Ap, beta)
        MAp = preconditioner.solve(Ap)
        ApMAp = Ap.inner(MAp)
        alpha = divide(zAz, ApMAp)
        gain = alpha * (r.inner(p) - 0.5 * alpha * p.inner(Ap))
        x = x.add(p, alpha * scale)
        r.add_(Ap, -alpha)
        z.add_(MAp, -alpha)
        del Az, MAp  # not to be there beside the next ones
        yield (x, r, z, p, Ap, zAz), (zAz, ApMAp, x, gain, r.inner(z))
