"""Minimisation over a subspace: K-FAC's rescaling and momentum, by layer.

Problem    minimise q(x) = gᵀx + ½ xᵀAx, A = G + mu D + lambda I symmetric
           positive definite; the minimiser solves Ax = b, b = -g
Step       V_1: the parts of M⁻¹b and of the warm start x_0
           V_k: the parts of M⁻¹r and of the last step, r = b - A x_k-1
           (K + ridge) c = Vᵀr, K = VᵀAV scaled to a unit diagonal
           x_k = x_k-1 + V c
Source     Martens and Grosse (2015), arXiv 1503.05671, sections 6.4 and 7, for
           M of `kfac`, one step and whole vectors; a coefficient for every
           layer is new here. Subspaces of earlier directions: Narkiss and
           Zibulevsky (2005), "Sequential subspace optimization method for
           large-scale unconstrained problems". With whole vectors, no ridge
           and no warm start these are the iterates of `cg`
Symbols    G Gauss-Newton matrix, mu D weight decay, lambda damping, M
           preconditioner; x iterate, r residual (shaped like the parameters);
           a part of a vector is its blocks of one layer, and zero elsewhere;
           K, c small, in float64
Monotone   q decreases at every step
Cost       J v of the parts per step, in one sweep: in a chain of L equal layers
           (L + 1)/4 times what the two whole vectors take. From the second
           step on, one Jᵀ and one solve with M. The first step has no Jᵀ
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor

from hfbench.linalg.gram_system import gain, minimiser
from hfbench.parts import Breakdown, BuiltPreconditioner, Choice, Log, Span, System, Vector, Within, part


class ResidualOnDemand:
    """r = b - A x of an iterate, computed when it is first read: it takes a product with Jᵀ."""

    def __init__(self, compute: Callable[[], Vector], cost: float) -> None:
        self._compute, self._cost = compute, cost

    @cached_property
    def r(self) -> Vector:
        return self._compute()

    @property
    def products(self) -> float:
        """Products with A that it has taken so far."""
        return self._cost if "r" in vars(self) else 0.0


@dataclass(frozen=True)
class SubspaceState:
    """State after k minimisations."""

    k: int
    x: Vector
    q: float
    residual: ResidualOnDemand = field(repr=False)
    reference: float  # ‖b‖ in the M⁻¹ norm
    preconditioner: BuiltPreconditioner = field(repr=False)
    spent: float  # products but for those of the residual
    breakdown: Breakdown | None = None

    @property
    def products(self) -> float:
        return self.spent + self.residual.products

    @cached_property
    def relative_residual(self) -> float:
        """In the M⁻¹ norm. It takes a Jᵀ and a solve with M, and costs nothing unless a rule reads it."""
        r = self.residual.r
        return math.sqrt(max(0.0, r.dot(self.preconditioner.solve(r)))) / self.reference


@final
@part
class Subspace:
    """The minimiser over M⁻¹b and the last step, by layer."""

    monotone: ClassVar[tuple[str, ...]] = ("q",)
    split: Annotated[str, Choice("none", "layers", "parameters"), "parts with a coefficient of their own"] = "layers"
    ridge: Annotated[float, Log(1e-6, 1e-2), Within("[0, 1]"), "what is added to the unit diagonal of VᵀAV"] = 1e-4

    def iterates(
        self, system: System, x0: Vector | None, preconditioner: BuiltPreconditioner
    ) -> Iterator[SubspaceState]:
        """x_k minimises q over x_k-1 + span of the parts, up to the ridge. Ends where nothing is left to gain."""
        b = -system.gradient
        V = [preconditioner.solve(b), *([] if x0 is None else [x0])]
        span = system.span(V, self.split)
        K, s, spent = span.matrix, span.slopes(b), span.products
        bMb = float(s[:: len(V)].sum())  # over the parts of M⁻¹b
        reference = math.sqrt(abs(bMb)) or 1.0
        if bMb == 0:
            zero, breakdown = b.zeros_like(), Breakdown.ZERO_RIGHT_HAND_SIDE
            yield SubspaceState(
                0, zero, 0.0, ResidualOnDemand(lambda: b, 0.0), reference, preconditioner, spent, breakdown
            )
            return
        w = torch.zeros(len(K), dtype=K.dtype)  # x_0 = V w
        if x0 is None:
            x, residual = b.zeros_like(), ResidualOnDemand(lambda: b, 0.0)
        else:
            w[1::2] = 1.0
            x, residual = x0, residual_after(b, span, w, x0)
        q = float(0.5 * w @ K @ w - s @ w)
        yield SubspaceState(0, x, q, residual, reference, preconditioner, spent)
        spent += residual.products  # if a rule has read it
        c = minimiser(K, s - K @ w, self.ridge, span.rounding)
        x = step = span.combined((w + c).tolist())
        q, residual = q + gain(K, s - K @ w, c), residual_after(b, span, w + c, x)
        for k in count(1):
            yield SubspaceState(k, x, q, residual, reference, preconditioner, spent)
            r = residual.r
            spent += residual.products
            d = preconditioner.solve(r)
            if not r.dot(d) > 0:  # zero, or below by rounding
                return
            span = system.span([d, step], self.split)
            K, s, spent = span.matrix, span.slopes(r), spent + span.products
            c = minimiser(K, s, self.ridge, span.rounding)
            step = span.combined(c.tolist())
            x, q, residual = x + step, q + gain(K, s, c), residual_after(r, span, c, step)


def residual_after(r: Vector, span: Span, c: Tensor, step: Vector) -> ResidualOnDemand:
    """r - A step, for step = V c."""
    return ResidualOnDemand(lambda: r - span.multiply(c.tolist(), step), span.cost_of_product)
