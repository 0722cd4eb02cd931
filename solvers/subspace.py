"""Minimisation over a subspace: K-FAC's rescaling and momentum, by layer.

Problem    minimise q(x) = gᵀx + ½ xᵀAx, A = G + mu D + lambda I symmetric
           positive definite; the minimiser solves Ax = b, b = -g
Step       V_1: the parts of M⁻¹b and of the warm start x_0
           V_k: the parts of M⁻¹r and of the last step, r = b - A x_k-1
           c minimises q(x_k-1 + V_k c):  (VᵀAV) c = Vᵀr;  x_k = x_k-1 + V_k c
           (x_1 = V_1 c, since x_0 is in the span)
Source     Martens and Grosse (2015), arXiv 1503.05671, sections 6.4 and 7, for
           M of `kfac`, one step and whole vectors; a coefficient for every
           layer is new here. Subspaces of earlier directions: Narkiss and
           Zibulevsky (2005), "Sequential subspace optimization method for
           large-scale unconstrained problems". With whole vectors, these are
           the iterates of `cg` from x_1 on
Symbols    G Gauss-Newton matrix, mu D weight decay, lambda damping, M
           preconditioner; x iterate, r residual (shaped like the parameters);
           a part of a vector is its blocks of one layer, and zero elsewhere
Monotone   q decreases at every step
Cost       J v of the parts, in one sweep, and one Jᵀ per step; in a chain of
           L dense layers the 2L parts cost about L/4 + 1 times what the two
           whole vectors do. One solve with M per step
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor

from hfbench.parts import Breakdown, BuiltPreconditioner, Choice, System, Vector, part


@dataclass(frozen=True)
class SubspaceState:
    """State after k minimisations."""

    k: int
    x: Vector
    q: float
    r: Vector = field(repr=False)
    reference: float  # ‖b‖ in the M⁻¹ norm
    preconditioner: BuiltPreconditioner = field(repr=False)
    products: float
    breakdown: Breakdown | None = None

    @cached_property
    def relative_residual(self) -> float:
        """In the M⁻¹ norm. It takes a solve with M, so that it costs nothing unless a rule reads it."""
        return math.sqrt(max(0.0, self.r.dot(self.preconditioner.solve(self.r)))) / self.reference


@final
@part
class Subspace:
    """The minimiser over preconditioned gradient and last step, each cut into its layers."""

    monotone: ClassVar[tuple[str, ...]] = ("q",)
    split: Annotated[str, Choice("none", "layers", "parameters"), "parts with a coefficient of their own"] = "layers"

    def iterates(
        self, system: System, x0: Vector | None, preconditioner: BuiltPreconditioner
    ) -> Iterator[SubspaceState]:
        """x_k minimises q over x_k-1 + span of the parts. Ends where nothing is left to gain, or by Breakdown."""
        b = -system.gradient
        d = preconditioner.solve(b)
        bMb = b.dot(d)
        if bMb == 0:
            zero = b.zeros_like()
            yield SubspaceState(0, zero, 0.0, b, 1.0, preconditioner, 0.0, Breakdown.ZERO_RIGHT_HAND_SIDE)
            return
        reference = math.sqrt(bMb)
        if x0 is None:
            x, r, q, products = b.zeros_like(), b, 0.0, 0.0
            yield SubspaceState(0, x, q, r, reference, preconditioner, products)
            span = system.span([d], self.split)
        else:
            span = system.span([d, x0], self.split)
            whole = [0.0, 1.0] * (len(span.matrix) // 2)
            r, products = b - span.multiply(whole, x0), span.products
            yield SubspaceState(0, x0, -0.5 * (x0.dot(b) + x0.dot(r)), r, reference, preconditioner, products)
            x, r, q = b.zeros_like(), b, 0.0
            products -= span.products
        for k in count(1):
            slopes = span.slopes(r)
            c = minimiser(span.matrix, slopes, span.rounding)
            if c is None:
                q = q if span.matrix.isfinite().all() else math.nan  # which the driver sees first
                products += span.products
                yield SubspaceState(k, x, q, r, reference, preconditioner, products, Breakdown.NONPOSITIVE_CURVATURE)
                return
            step = span.combined(c.tolist())
            x, q = x + step, q - 0.5 * float(slopes @ c)
            r = r - span.multiply(c.tolist(), step)
            products += span.products
            yield SubspaceState(k, x, q, r, reference, preconditioner, products)
            d = preconditioner.solve(r)
            if r.dot(d) <= 0:  # below by rounding
                return
            span = system.span([d, step], self.split)


def minimiser(K: Tensor, s: Tensor, rounding: float) -> Tensor | None:
    """The c of least norm that minimises ½ cᵀKc - sᵀc, K scaled to a unit diagonal; None if K is not definite.

    Directions of zero length, and combinations that vanish up to rounding, get no coefficient.
    """
    squares = K.diagonal()
    if not torch.isfinite(K).all() or not squares.max() > 0 or squares.min() < 0:
        return None
    scale = torch.where(squares > 0, squares.rsqrt(), 0.0)
    values, Q = torch.linalg.eigh(K * scale[:, None] * scale)
    if values[0] < -rounding:
        return None
    kept = values > rounding
    c: Tensor = scale * (Q[:, kept] @ ((Q[:, kept].T @ (scale * s)) / values[kept]))
    return c
