"""Martens' preconditioner: the diagonal of the empirical Fisher matrix.

Formula    M = (mean_i g_i∘g_i + lambda + mu D)^alpha
Source     Martens (2010), section 4.7, where alpha = ¾ and the mean runs over
           the cases of the gradient
Symbols    g_i gradient of case i (without weight decay), ∘ entry by entry,
           lambda damping, mu D weight decay, alpha `exponent`
Cost       one pass of squared gradients per outer iteration
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, final

import torch

from hfbench.parts import Linear, Linearisation, Shift, Vector, Within, part

from .diagonal import Diagonal

LARGEST = 1e30  # mean square of a case's gradient where it must be scaled: leaves room for a sum over cases


@final
@part
class Martens:
    """Empirical-Fisher diagonal, flattened: Martens (2010)."""

    cases: ClassVar[str] = "gradient"
    exponent: Annotated[float, Linear(0.25, 1.0), Within("(0, 1]"), "alpha; below 1 flattens the diagonal"] = 0.75

    def build(self, linearisation: Linearisation, shift: Shift, generator: torch.Generator) -> Diagonal:
        u, n = linearisation.residual, linearisation.n
        mean_square = linearisation.squared_sums(u).mul_(1 / n)
        if not mean_square.isfinite():  # squares of gradients from 1e19 overflow in float32
            scale = math.sqrt(LARGEST * n / linearisation.squared_norms(u))
            mean_square = linearisation.squared_sums(u * scale).mul_(1 / n)
            shift = _times(shift, scale * scale)  # M times a constant, of which no iterate depends
        return Diagonal(mean_square, shift, self.exponent)


def _times(shift: Shift, factor: float) -> Shift:
    return shift * factor if isinstance(shift, Vector) else [factor * number for number in shift]
