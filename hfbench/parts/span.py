"""Protocol of the damped system on the span of a few vectors, which `System.span` gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from hfbench.linalg.vector import Vector


class Span(Protocol):
    """The system on the span of m parts of vectors v_j: VᵀAV, Vᵀg and combinations."""

    products: float  # with A so far, by their cost; see `System`

    @property
    def matrix(self) -> Tensor:
        """VᵀAV, m × m in float64."""

    @property
    def rounding(self) -> float:
        """Relative error of `matrix` by rounding."""

    @property
    def cost_of_product(self) -> float:
        """Products that `multiply` takes."""

    def slopes(self, g: Vector) -> Tensor:
        """Vᵀg in float64."""

    def combined(self, c: Sequence[float]) -> Vector:
        """Σ c_j v_j."""

    def multiply(self, c: Sequence[float], x: Vector) -> Vector:
        """A x for x = Σ c_j v_j, which is given."""
