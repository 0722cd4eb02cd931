"""The exact diagonal of the Gauss-Newton matrix as preconditioner.

Formula    d = mean_i Σ_j (J_iᵀB_i e_j)∘(J_iᵀB_i e_j) = diag(G), e_j the j-th
           of o unit vectors;  M = (d + mu D + lambda)^alpha
Source     Jacobi's preconditioner; the limit of Chapelle and Erhan's (2011)
           for many probes
Symbols    J_i Jacobian of the o outputs of case i, B_i B_iᵀ Hessian of its
           loss in them, ∘ entry by entry, lambda damping, mu D weight decay,
           alpha `exponent`
Cost       one pass of squared gradients per output and outer iteration:
           expensive for many outputs, as of an autoencoder
"""

from __future__ import annotations

from typing import Annotated, ClassVar, final

import torch

from hfbench.parts import Linear, Linearisation, Shift, Vector, Within, part

from .diagonal import Diagonal


@final
@part
class ExactDiagonal:
    """diag(G) exactly, one pass per output."""

    cases: ClassVar[str] = "curvature"
    exponent: Annotated[float, Linear(0.25, 1.0), Within("(0, 1]"), "alpha; below 1 flattens the diagonal"] = 1.0

    def build(self, linearisation: Linearisation, shift: Shift, generator: torch.Generator) -> Diagonal:
        return Diagonal(self.diagonal(linearisation), shift, self.exponent)

    def diagonal(self, linearisation: Linearisation) -> Vector:
        """d = diag(G), shaped like the parameters."""
        z = linearisation.outputs
        total = linearisation.parameters.zeros_like()
        for j in range(z[0].numel()):
            e_j = z.new_zeros(z.shape)
            e_j.view(len(z), -1)[:, j] = 1
            total.add_(linearisation.squared_sums(linearisation.loss_at.factor(e_j)))
        return total.mul_(1 / linearisation.n)
