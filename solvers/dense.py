"""The exact solution of the damped Gauss-Newton system, for small models.

Problem    minimise q(x) = gᵀx + ½ xᵀAx, A = G + mu D + lambda I symmetric
           positive definite; the minimiser solves Ax = b, b = -g
Formula    A e_j for every unit vector e_j makes A as a matrix, A = LLᵀ by
           Cholesky, and x = L⁻ᵀL⁻¹b, all of it in float64
Source     none: the reference for the iterative solvers
Symbols    G Gauss-Newton matrix, mu D weight decay, lambda damping, P
           parameters
Monotone   q: state 0 is the start, state 1 the minimiser
Cost       P + 1 products with A, the last of which gives q and the residual,
           P² numbers of memory and P³/3 multiplications per solve, whatever the
           start; no preconditioner is of use
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor

from hfbench.errors import ConfigError
from hfbench.parts import Breakdown, BuiltPreconditioner, System, Vector, Within, part

AT_ONCE = 8  # columns of the matrix: more take memory and hardly less time


@dataclass(frozen=True)
class DenseState:
    """State with the initial iterate (k = 0) or the solution (k = 1)."""

    k: int
    x: Vector
    q: float
    relative_residual: float  # in the M⁻¹ norm
    products: float
    breakdown: Breakdown | None = None


@final
@part
class Dense:
    """The exact solution by Cholesky, for small models."""

    monotone: ClassVar[tuple[str, ...]] = ("q",)
    takes_preconditioner: ClassVar[bool] = False
    most: Annotated[int, Within("[1, 50000]"), "largest number P of parameters accepted"] = 2000

    def iterates(self, system: System, x0: Vector | None, preconditioner: BuiltPreconditioner) -> Iterator[DenseState]:
        """x_0 is the initial iterate, x_1 the minimiser of q. Ends with a Breakdown if A is not positive definite.

        The preconditioner defines the norm of the residual and has no other effect. Raises ConfigError if P exceeds
        `most`.
        """
        b = -system.gradient
        self._check(b.numel())
        norm = _norm(b, preconditioner)
        if norm == 0:
            yield DenseState(0, b.zeros_like(), 0.0, 0.0, 0, Breakdown.ZERO_RIGHT_HAND_SIDE)
            return
        if x0 is None:
            x, r, products = b.zeros_like(), b, 0
        else:
            x, r, products = x0, b - system.multiply(x0), 1
        start = DenseState(0, x, -0.5 * (x.dot(b) + x.dot(r)), _norm(r, preconditioner) / norm, products)
        yield start
        A = dense_matrix(system)
        products += b.numel()
        L, failed = torch.linalg.cholesky_ex(A)
        if failed:
            q = start.q if A.isfinite().all() else math.nan  # which the driver sees first
            yield DenseState(1, x, q, start.relative_residual, products, Breakdown.NONPOSITIVE_CURVATURE)
            return
        x = _like(b, torch.cholesky_solve(_column(b), L))
        r = b - system.multiply(x)  # by a product of x's own: the matrix has the rounding of P others
        yield DenseState(1, x, -0.5 * (x.dot(b) + x.dot(r)), _norm(r, preconditioner) / norm, products + 1)

    def _check(self, size: int) -> None:
        if size > self.most:
            raise ConfigError(
                f"most: the dense solver takes at most {self.most} parameters, but the model has {size}; raise it if "
                f"{size + 1} products per solve and {8 * size**2 / 2**20:.0f} MiB per copy of the matrix are "
                "affordable, or use another solver."
            )


def dense_matrix(system: System) -> Tensor:
    """A in float64, P × P, from P products, made exactly symmetric."""
    like = system.gradient
    P = like.numel()
    A = torch.empty(P, P, dtype=torch.float64, device=like[0].device)
    for j in range(0, P, AT_ONCE):
        k = min(AT_ONCE, P - j)
        units = torch.zeros(k, P, dtype=torch.float64, device=like[0].device)
        units[:, j : j + k].fill_diagonal_(1)
        products = system.multiply_columns([_like(like, unit) for unit in units])
        A[:, j : j + k] = torch.cat([_column(Av) for Av in products], dim=1)
    return A.add(A.T).div_(2)


def _column(v: Vector) -> Tensor:
    """The entries of all blocks as one column in float64."""
    return torch.cat([block.reshape(-1, 1).double() for block in v])


def _like(v: Vector, entries: Tensor) -> Vector:
    """The entries, in a row or a column, in blocks like those of v."""
    pieces = torch.split(entries.flatten(), [block.numel() for block in v])
    return Vector(piece.reshape(block.shape).to(block.dtype) for piece, block in zip(pieces, v, strict=True))


def _norm(v: Vector, preconditioner: BuiltPreconditioner) -> float:
    return math.sqrt(v.dot(preconditioner.solve(v)))
