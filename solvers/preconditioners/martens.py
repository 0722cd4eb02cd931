"""Martens' preconditioner: the diagonal of the empirical Fisher matrix.

Formula    M = (mean_i g_i∘g_i + lambda + mu D)^alpha
Source     Martens (2010), section 4.7, where alpha = ¾ and the mean runs over
           the cases of the gradient
Symbols    g_i gradient of case i (without weight decay), ∘ entry by entry,
           lambda damping, mu D weight decay, alpha `exponent`
Cost       one pass of squared gradients per outer iteration
"""

from __future__ import annotations

from typing import Annotated, ClassVar, final

import torch

from hfbench.parts import Linear, Linearisation, Shift, Within, part

from .diagonal import Diagonal


@final
@part
class Martens:
    """Empirical-Fisher diagonal, flattened: Martens (2010)."""

    cases: ClassVar[str] = "gradient"
    exponent: Annotated[float, Linear(0.25, 1.0), Within("(0, 1]"), "alpha; below 1 flattens the diagonal"] = 0.75

    def build(self, linearisation: Linearisation, shift: Shift, generator: torch.Generator) -> Diagonal:
        mean_square = linearisation.squared_sums(linearisation.residual).mul_(1 / linearisation.n)
        return Diagonal(mean_square, shift, self.exponent)
