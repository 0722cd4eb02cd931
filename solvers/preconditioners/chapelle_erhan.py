"""Chapelle and Erhan's preconditioner: the Gauss-Newton diagonal from random signs.

Formula    d = mean_i (J_iᵀB_i v_i)∘(J_iᵀB_i v_i), v_i ∈ {±1}^o at random
           E[d] = diag(G) exactly;  M = (d + mu D + lambda)^alpha
Source     Chapelle and Erhan (2011), "Improved preconditioner for Hessian
           free optimization", section 3; alpha = 1 there
Symbols    J_i Jacobian of the o outputs of case i, B_i B_iᵀ Hessian of its
           loss in them, ∘ entry by entry, lambda damping, mu D weight decay,
           alpha `exponent`
Cost       one pass of squared gradients per probe and outer iteration
"""

from __future__ import annotations

from typing import Annotated, ClassVar, final

import torch

from hfbench.parts import Integers, Linear, Linearisation, Shift, Vector, Within, part

from .diagonal import Diagonal


@final
@part
class ChapelleErhan:
    """diag(G) by random signs, unbiased: Chapelle & Erhan (2011)."""

    cases: ClassVar[str] = "curvature"
    exponent: Annotated[float, Linear(0.25, 1.0), Within("(0, 1]"), "alpha; below 1 flattens the diagonal"] = 1.0
    probes: Annotated[int, Integers(1, 16, log=True), Within("[1, 10000]"), "random sign vectors per case"] = 1

    def build(self, linearisation: Linearisation, shift: Shift, generator: torch.Generator) -> Diagonal:
        return Diagonal(self.diagonal(linearisation, generator), shift, self.exponent)

    def diagonal(self, linearisation: Linearisation, generator: torch.Generator) -> Vector:
        """d, shaped like the parameters."""

        def squares() -> Vector:
            return linearisation.squared_sums(linearisation.loss_at.factor(linearisation.signs(generator)))

        total = squares()
        for _ in range(1, self.probes):
            total.add_(squares())
        return total.mul_(1 / (self.probes * linearisation.n))
