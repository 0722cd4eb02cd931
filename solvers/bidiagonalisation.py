"""Golub-Kahan bidiagonalisation of the shifted, preconditioned least-squares problem, for LSQR and LSMR.

Problem    minimise ‖B y - f‖ with B = Ã E⁻ᵀ, f = b̃ - Ã x0, and x = x0 + E⁻ᵀ y. The minimiser solves (1), whatever
           x0 and the positive M = E Eᵀ are: the warm start is a shift of b̃, damping block included.
Source     Golub and Kahan (1965); Paige and Saunders (1982), section 2
Symbols    u in the residual space, v shaped like the parameters, both of norm 1; alpha, beta > 0:
           beta_1 u_1 = f,  alpha_1 v_1 = Bᵀu_1,  beta_{k+1} u_{k+1} = B v_k - alpha_k u_k,
           alpha_{k+1} v_{k+1} = Bᵀu_{k+1} - beta_{k+1} v_k
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from hfbench.inner_solve.iteration import Process, follow
from hfbench.linalg.scalars import Number, inverse_of, scale_of, sqrt
from hfbench.parts import Breakdown, BuiltPreconditioner, System, Vector


@dataclass(frozen=True)
class Substitution:
    """x = x0 + E⁻ᵀ y. States hold this and not the system, whose graph is large: they may outlive the solve."""

    x0: Vector | None
    preconditioner: BuiltPreconditioner
    reference: float  # ‖g‖ in the M⁻¹ norm

    def x(self, y: Vector) -> Vector:
        step = self.preconditioner.solve_factor_t(y)
        return step if self.x0 is None else step + self.x0

    def relative(self, residual: float) -> float:
        """residual / ‖g‖; zero if the gradient is zero."""
        return residual / self.reference if self.reference > 0 else 0.0


@dataclass(frozen=True)
class BidiagonalState:
    """State of LSQR and LSMR after k steps. x is formed only when it is read."""

    k: int
    substitution: Substitution
    y: Vector
    q: float
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


class ShiftedProblem:
    """min ‖B y - f‖ for a system, an initial iterate x0 (None: zero) and a preconditioner, with q at x0."""

    def __init__(self, system: System, x0: Vector | None, preconditioner: BuiltPreconditioner) -> None:
        scale = scale_of(system.gradient.norm())
        reference = scale * preconditioner.solve_factor(system.gradient * (1 / scale)).norm()
        if reference == 0:
            x0 = None  # the solution is zero, whatever the start
        self.system, self.preconditioner = system, preconditioner
        self.substitution = Substitution(x0, preconditioner, reference)
        self.f, self.q0, self.products = system.right_hand_side.clone(), 0.0, 0.0
        if x0 is not None:
            Ax0 = system.forward(x0)
            self.q0 = system.gradient.dot(x0) + 0.5 * Ax0.dot(Ax0)
            self.f.add_(Ax0, -1.0)
            self.products = 0.5

    def forward(self, v: Vector) -> Vector:
        """B v = Ã E⁻ᵀ v."""
        return self.system.forward(self.preconditioner.solve_factor_t(v))

    def adjoint(self, u: Vector) -> Vector:
        """Bᵀu = E⁻¹ Ãᵀ u."""
        return self.preconditioner.solve_factor(self.system.adjoint(u))


def golub_kahan(problem: ShiftedProblem) -> Iterator[tuple[float, Vector, float]]:
    """(beta_k, v_k, alpha_k) for k = 1, 2, …; ends after a vanishing alpha or beta, which exhausts the Krylov space."""
    for beta, v, alpha in follow(_bidiagonalise(problem), problem.system, problem.preconditioner):
        yield beta, v, alpha
        if alpha == 0 or beta == 0:  # NaN goes on, for the driver to see
            return


def _bidiagonalise(problem: ShiftedProblem) -> Process:
    """The same without end, with numbers that may stay on the device; the process keeps u, v and alpha."""
    u = problem.f
    del problem.f  # changed in place from here on
    scale = scale_of(u.norm())
    u.mul_(1 / scale)
    beta = scale * _normalise(u)
    v = problem.adjoint(u)
    alpha = _normalise(v)
    while True:
        yield (u, v, alpha), (beta, v, alpha)
        u = problem.forward(v).add_(u, -alpha)
        beta = _normalise(u)
        v = problem.adjoint(u).add_(v, -beta)
        alpha = _normalise(v)


def _normalise(w: Vector) -> Number:
    """‖w‖, and w divided by it in place (a zero vector stays)."""
    norm = sqrt(w.inner(w))
    w.mul_(inverse_of(norm))
    return norm


def sym_ortho(a: float, b: float) -> tuple[float, float, float]:
    """c, s, r of the rotation that takes (a, b) to (r, 0), r >= 0."""
    r = math.hypot(a, b)
    return (a / r, b / r, r) if r != 0 else (1.0, 0.0, 0.0)
