"""Frame of the exact solvers: two states, the start and the minimiser, with their norms and breakdowns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hfbench.parts import Breakdown, BuiltPreconditioner, System, Vector


@dataclass(frozen=True)
class ExactState:
    """State with the initial iterate (k = 0) or the solution (k = 1)."""

    k: int
    x: Vector
    q: float
    relative_residual: float  # in the M⁻¹ norm
    products: float
    breakdown: Breakdown | None = None


class NotPositiveDefinite(Exception):
    """A matrix without a Cholesky decomposition, from `products`; `is_finite` tells whether its entries are numbers."""

    def __init__(self, is_finite: bool, products: float) -> None:
        super().__init__()
        self.is_finite, self.products = is_finite, products


def cholesky(A: Tensor, products: float) -> Tensor:
    """L with A = LLᵀ, A from so many products. Raises NotPositiveDefinite."""
    found = torch.linalg.cholesky_ex(A)
    L: Tensor = found.L
    if found.info or not L.diagonal().isfinite().all():
        raise NotPositiveDefinite(bool(A.isfinite().all()), products)
    return L


def exact_iterates(
    system: System,
    x0: Vector | None,
    preconditioner: BuiltPreconditioner,
    solution: Callable[[Vector], tuple[Vector, Vector, float]],
) -> Iterator[ExactState]:
    """x_0 is the initial iterate; `solution(b)` gives x_1, its residual b - Ax_1, which gives q, and the products.

    It may raise NotPositiveDefinite.
    """
    b = -system.gradient

    def norm(r: Vector) -> float:
        return math.sqrt(r.dot(preconditioner.solve(r)))

    reference = norm(b)
    if reference == 0:
        yield ExactState(0, b.zeros_like(), 0.0, 0.0, 0, Breakdown.ZERO_RIGHT_HAND_SIDE)
        return
    if x0 is None:
        x, r, products = b.zeros_like(), b, 0.0
    else:
        x, r, products = x0, b - system.multiply(x0), 1.0
    start = ExactState(0, x, -0.5 * (x.dot(b) + x.dot(r)), norm(r) / reference, products)
    yield start
    try:
        x, r, cost = solution(b)
        products += cost
    except NotPositiveDefinite as failure:
        q = start.q if failure.is_finite else math.nan  # which the driver sees first
        products += failure.products
        yield ExactState(1, x, q, start.relative_residual, products, Breakdown.NONPOSITIVE_CURVATURE)
        return
    yield ExactState(1, x, -0.5 * (x.dot(b) + x.dot(r)), norm(r) / reference, products)
