"""LSMR for the damped Gauss-Newton system in least-squares form.

Problem    minimise ‖Ãx - b̃‖, ÃᵀÃ = G + mu D + lambda I, Ãᵀb̃ = -g: the normal
           equation Ãᵀ(b̃ - Ãx) = 0 is the system (G + mu D + lambda I) x = -g
Step       bidiagonalisation, then two rotations, then three vectors:
           beta⁺u⁺ = Ãv - alpha u,  alpha⁺v⁺ = Ãᵀu⁺ - beta⁺v
           P_k turns B_k into the bidiagonal R_k, P̄_k turns R_kᵀ into R̄_k
           hbar ← h - thetabar rho/(rho_old rhobar_old) hbar
           y ← y + zeta/(rho rhobar) hbar,  h ← v - theta/rho h
Source     Fong and Saunders (2011), section 2 (algorithm) and section 5.1
           (norm of the residual). Damping is inside Ã, so that the paper's
           rotations for lambda are the identity and fall away
Symbols    G Gauss-Newton matrix, mu D weight decay, lambda damping; the rest
           is the paper's: u, v, alpha, beta of the bidiagonal B, ⁺ the next;
           y iterate of the preconditioned problem (its x), h and hbar
           directions (shaped like the parameters); c, s, cbar, sbar
           rotations; rho, rhobar diagonals of R and R̄; theta, thetabar off
           them; zeta, zetabar of the right-hand side of the normal equation;
           betahat, betadot, betaddot, betatilde, taudot, tautilde: section 5.1
Monotone   ‖Ãᵀ(b̃ - Ãx)‖ decreases at every step, in the M⁻¹ norm; so does q:
           x_k is MINRES's x_k on the system, also when both are preconditioned
           by M (Fong and Saunders, 2012, section 2)
Cost       one product with Ã and one with Ãᵀ per step; three vectors shaped
           like the parameters, one like the residual
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count
from typing import ClassVar, final

from hfbench.parts import Breakdown, BuiltPreconditioner, System, Vector, part

from .bidiagonalisation import BidiagonalState, ShiftedProblem, golub_kahan, sym_ortho


class RotatedResidual:
    """Section 5.1: the right-hand side beta_1 e_1 under the rotations, and the part of it that the iterate matches.

    ‖r̃‖² is the sum of (betatilde_i - tautilde_i)² = 0 for i < k, (betadot - taudot)² and betaddot². The norm matched,
    ‖f‖² - ‖r̃‖², is therefore Σ betatilde_i² + betadot² - (betadot - taudot)², which is summed here directly:
    subtracting the two norms loses all digits if ‖f‖ is large, as for a small lambda.
    """

    def __init__(self, beta: float) -> None:
        self.betaddot, self.betadot = beta, 0.0
        self.rhodot, self.tautilde, self.taudot, self.thetatilde = 1.0, 0.0, 0.0, 0.0
        self.zeta, self.settled = 0.0, 0.0

    def rotate(self, c: float, s: float, rhobar_old: float, thetabar: float, rhobar: float, zeta: float) -> None:
        """Updates by step k: the rotation (c, s) of R, and rhobar_{k-1}, thetabar_k, rhobar_k, zeta_k of R̄."""
        betahat, self.betaddot = c * self.betaddot, -s * self.betaddot
        thetatilde_old = self.thetatilde
        ctilde, stilde, rhotilde = sym_ortho(self.rhodot, thetabar)
        self.thetatilde, self.rhodot = stilde * rhobar, ctilde * rhobar
        betatilde = ctilde * self.betadot + stilde * betahat
        self.betadot = -stilde * self.betadot + ctilde * betahat
        self.tautilde = (self.zeta - thetatilde_old * self.tautilde) / rhotilde
        self.taudot = (zeta - self.thetatilde * self.tautilde) / self.rhodot
        self.settled += betatilde * betatilde
        self.zeta = zeta

    @property
    def matched(self) -> float:
        return self.settled + self.taudot * (2 * self.betadot - self.taudot)

    @property
    def norm(self) -> float:
        return math.hypot(self.betadot - self.taudot, self.betaddot)


@final
@part
class LSMR:
    """LSMR on min ‖Ãx - b̃‖: MINRES's iterates by bidiagonalising."""

    monotone: ClassVar[tuple[str, ...]] = ("relative_residual", "q")

    def iterates(
        self, system: System, x0: Vector | None, preconditioner: BuiltPreconditioner
    ) -> Iterator[BidiagonalState]:
        """y_k minimises ‖Bᵀ(f - By)‖ over the k-th Krylov space. Ends when that space is exhausted."""
        problem = ShiftedProblem(system, x0, preconditioner)
        substitution = problem.substitution
        process = golub_kahan(problem)
        beta, v, alpha = next(process)
        y, h, hbar = v.zeros_like(), v.clone(), v.zeros_like()
        alphabar, zetabar, rho, rhobar, cbar, sbar = alpha, alpha * beta, 1.0, 1.0, 1.0, 0.0
        residual = RotatedResidual(beta)
        norm2 = alpha * alpha
        start = problem.products + 0.5
        breakdown = Breakdown.ZERO_RIGHT_HAND_SIDE if substitution.reference == 0 else None
        yield BidiagonalState(0, substitution, y, problem.q0, zetabar, beta, alpha, start, breakdown)
        if breakdown:
            return
        for k, (beta, v, alpha) in zip(count(1), process, strict=False):
            rho_old, rhobar_old = rho, rhobar
            # rotation P_k turns the bidiagonal B_k into R_k
            c, s, rho = sym_ortho(alphabar, beta)
            theta, alphabar = s * alpha, c * alpha
            # rotation P̄_k turns R_kᵀ into R̄_k
            thetabar, rhotemp = sbar * rho, cbar * rho
            cbar, sbar, rhobar = sym_ortho(rhotemp, theta)
            zeta, zetabar = cbar * zetabar, -sbar * zetabar
            # h, hbar, y
            hbar.scale_add_(-thetabar * rho / (rho_old * rhobar_old), h)
            y = y.add(hbar, zeta / (rho * rhobar))
            h.scale_add_(-theta / rho, v)
            residual.rotate(c, s, rhobar_old, thetabar, rhobar, zeta)
            q = problem.q0 - 0.5 * residual.matched
            norm2 += beta * beta
            yield BidiagonalState(k, substitution, y, q, abs(zetabar), residual.norm, math.sqrt(norm2), start + k)
            norm2 += alpha * alpha
