"""Layout of vectors: blocks shaped like the parameters, or one flat block.

Only this module flattens vectors, so that an ablation can measure the cost: every product packs its result (a copy of
all parameters) and unpacks its argument (views), and diagonals of the system are as long as the vector. The numbers
are the same up to the order of summation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from hfbench.linalg.vector import Shift, Vector
from hfbench.setting_checks import one_of

LAYOUTS = ("structured", "flat")


class Layout(Protocol):
    """Conversion between blocks shaped like the parameters and the vectors of systems and solvers."""

    def pack(self, blocks: Sequence[Tensor]) -> Vector:
        """The vector of these blocks."""
        ...

    def unpack(self, v: Vector) -> Vector:
        """The blocks of a vector, sharing its memory."""
        ...

    def spread(self, numbers: Sequence[float]) -> Shift:
        """One number per block, in the form that vectors are scaled and shifted by."""
        ...


class Structured:
    """Vectors are the blocks themselves."""

    def pack(self, blocks: Sequence[Tensor]) -> Vector:
        return blocks if isinstance(blocks, Vector) else Vector(blocks)

    def unpack(self, v: Vector) -> Vector:
        return v

    def spread(self, numbers: Sequence[float]) -> Sequence[float]:
        return tuple(numbers)


class Flat:
    """Vectors have one block of P entries: the parameters' entries in order, each row by row."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.shapes = [p.shape for p in parameters]
        self.sizes = [p.numel() for p in parameters]
        self.like = parameters[0].detach()

    def pack(self, blocks: Sequence[Tensor]) -> Vector:
        return Vector((torch.cat([block.reshape(-1) for block in blocks]),))

    def unpack(self, v: Vector) -> Vector:
        parts = torch.split(v[0], self.sizes)
        return Vector(part.view(shape) for part, shape in zip(parts, self.shapes, strict=True))

    def spread(self, numbers: Sequence[float]) -> Vector:
        parts = [self.like.new_full((size,), number) for size, number in zip(self.sizes, numbers, strict=True)]
        return Vector((torch.cat(parts),))


def layout_of(name: str, parameters: Sequence[Tensor]) -> Layout:
    """The layout "structured" or "flat" for vectors of these parameters. Raises ConfigError for another name."""
    return Structured() if one_of(name, LAYOUTS, "layout") == "structured" else Flat(parameters)
