"""Weight decay: the diagonal mu D per block of parameters, and its penalty (mu/2) wᵀDw."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from hfbench.linalg.vector import Vector
from hfbench.setting_checks import non_negative_number, one_of

MASKS = ("weights", "all", "none")


def decay_per_block(parameters: Sequence[Tensor], decay: float, mask: str) -> tuple[float, ...]:
    """The diagonal mu D, one number per block: mask "weights" decays blocks of two or more dimensions, not biases."""
    one_of(mask, MASKS, "decay_mask")
    mu = non_negative_number(decay, "decay")
    return tuple(mu * (mask == "all" or (mask == "weights" and p.dim() >= 2)) for p in parameters)


def decay_penalty(parameters: Sequence[Tensor], mu_D: Sequence[float]) -> float:
    """(mu/2) wᵀDw, summed over blocks in float64."""
    if not any(mu_D):
        return 0.0
    return 0.5 * sum(mu * squared for mu, squared in zip(mu_D, Vector(parameters).dots(parameters), strict=True) if mu)
