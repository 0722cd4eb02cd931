"""Scale of the features: named where large ones overflow or drown the rest in rounding."""

from __future__ import annotations

from torch import Tensor

LARGE = 1e4  # features beyond are worth a word
REMEDY = "Standardise the features (subtract the mean, divide by the standard deviation), or use float64."


def largest_of(inputs: Tensor) -> float:
    """The largest size of a feature; 0 for inputs that are no floating-point numbers."""
    return float(inputs.detach().abs().max()) if inputs.is_floating_point() and inputs.numel() else 0.0


def said_of_large(inputs: Tensor) -> str:
    """A sentence on large features, to follow another one; empty if there are none."""
    largest = largest_of(inputs)
    return f" Features reach {largest:.0e} in size. {REMEDY}" if largest > LARGE else ""
