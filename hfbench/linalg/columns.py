"""Vectors as columns of a matrix in float64, P × k, and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hfbench.linalg.vector import Vector


def as_column(v: Vector) -> Tensor:
    """The entries of all blocks as one column, P × 1 in float64."""
    return torch.cat([block.reshape(-1, 1).double() for block in v])


def as_matrix(V: Sequence[Vector]) -> Tensor:
    """One column for each vector, P × k in float64."""
    return torch.cat([as_column(v) for v in V], dim=1)


def from_column(v: Vector, entries: Tensor) -> Vector:
    """The entries, in a row or a column, in blocks like those of v and in its dtype."""
    pieces = torch.split(entries.flatten(), [block.numel() for block in v])
    return v.like(piece.reshape(block.shape).to(block.dtype) for piece, block in zip(pieces, v, strict=True))
