"""Factors of a block of the Gauss-Newton matrix as sums over cases, and the diagonal of a block.

A block is of one parameter or of several. What is summed over cases can be added up over chunks, divided by their
number, and averaged over steps. Layers with Kronecker factors have those of `hfbench.curvature.kronecker_factors`.
With u = B v for random signs v, the mean of the squared gradients of ⟨u_i, z_i⟩ is the diagonal in expectation, as in
Chapelle and Erhan (2011), "Improved preconditioner for Hessian free optimization".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


class BlockFactors(ABC):
    """Sums over cases of one block."""

    @property
    @abstractmethod
    def positions(self) -> list[int]:
        """Of the block's parameters among the trained ones; the first one's damping is that of the block."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of what `take` gives."""

    @property
    @abstractmethod
    def tensors(self) -> list[Tensor]:
        """The sums."""

    @abstractmethod
    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        """The same block with other sums."""

    @abstractmethod
    def take(self, parts: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        """The block's entries of a vector shaped like the parameters, in this dtype."""

    @abstractmethod
    def put(self, V: Tensor, parts: Sequence[Tensor]) -> None:
        """Writes entries into the blocks that `take` reads."""

    @property
    @abstractmethod
    def pass_cost(self) -> float:
        """Multiplications of the block's part of one case's forward pass."""

    def towards(self, old: BlockFactors, share: float) -> Self:
        """share·old + (1 - share)·self, in new tensors."""
        pairs = zip(self.tensors, old.tensors, strict=True)
        return self.with_tensors([new.lerp(before.to(new), share) for new, before in pairs])

    def add_(self, other: BlockFactors) -> None:
        """Adds the sums over other cases. Raises ConfigError if they do not go together."""
        for mine, theirs in zip(self.tensors, other.tensors, strict=True):
            mine.add_(theirs)

    def mean_(self, n: int) -> Self:
        """Divides the sums by the number of cases, in place."""
        for mine in self.tensors:
            mine.div_(n)
        return self


@dataclass
class DiagonalFactor(BlockFactors):
    """Σ_i (J_iᵀu_i)∘(J_iᵀu_i) over cases, of one parameter."""

    position: int
    squares: Tensor  # shaped like the parameter

    @property
    def positions(self) -> list[int]:
        return [self.position]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.squares.shape)

    @property
    def tensors(self) -> list[Tensor]:
        return [self.squares]

    def with_tensors(self, tensors: Sequence[Tensor]) -> DiagonalFactor:
        return DiagonalFactor(self.position, *tensors)

    def take(self, parts: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        return parts[self.position].to(dtype)

    def put(self, V: Tensor, parts: Sequence[Tensor]) -> None:
        parts[self.position].copy_(V)

    @property
    def pass_cost(self) -> float:
        """At least one multiplication for each entry."""
        return float(self.squares.numel())
