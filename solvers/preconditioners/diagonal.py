"""Diagonal preconditioners: M = diag(m) with E = Eᵀ = diag(√m)."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import torch

from hfbench.errors import NonFiniteError
from hfbench.linalg.vector import empty_vector
from hfbench.parts import Shift, Vector


class Diagonal:
    """M = diag((d + shift)^exponent) from a non-negative d and a positive shift per block or entry."""

    replayable: ClassVar[bool] = True

    def __init__(self, d: Vector, shift: Shift, exponent: float) -> None:
        m = (d.shift_(shift)) ** exponent
        smallest = float(torch.stack([block.min() for block in m if block.numel()]).min())
        if not m.isfinite():
            raise NonFiniteError(
                "a preconditioner's diagonal must be finite and positive, but has entries that are infinite or NaN; if "
                f"inputs or targets are so large that squares overflow in {m[0].dtype}, scale them, or use float64."
            )
        if not smallest > 0:
            raise NonFiniteError(
                f"a preconditioner's diagonal must be finite and positive, but its smallest entry is {smallest}; a "
                "larger damping or a smaller exponent keeps it so."
            )
        self.inverse = empty_vector(m)
        for inverse, block in zip(self.inverse, m, strict=True):
            torch.reciprocal(block, out=inverse)

    @cached_property
    def inverse_root(self) -> Vector:
        return self.inverse**0.5

    def solve(self, v: Vector) -> Vector:
        """M⁻¹ v."""
        return v * self.inverse

    def solve_factor(self, v: Vector) -> Vector:
        """E⁻¹ v = E⁻ᵀ v = M^(-½) v."""
        return v * self.inverse_root

    solve_factor_t = solve_factor
