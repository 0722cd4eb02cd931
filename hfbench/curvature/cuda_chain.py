"""Tape of a chain of dense layers whose products are replayed as CUDA graphs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from hfbench.curvature.chain_links import Link
from hfbench.curvature.cuda_graphs import Replayed
from hfbench.curvature.dense_chain import Chain
from hfbench.curvature.weights_by_name import Weights
from hfbench.linalg.precision import in_tf32
from hfbench.linalg.vector import Vector


class ReplayedChain(Chain):
    """A `Chain` on a GPU whose products are replayed; inside `launched` they are those of a `Chain`."""

    def __init__(
        self, model: nn.Module, links: list[Link], inputs: Tensor, weights: Weights, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__(model, links, inputs, weights, dtype)
        self.replayed: dict[tuple[str, bool], Replayed] = {}
        self.inside = 0  # of how many `launched`: solves may take turns

    def first(self, cases: int) -> ReplayedChain:
        """The pass of the first so many cases, with graphs of its own."""
        part = super().first(cases)
        assert isinstance(part, ReplayedChain)  # a copy of this one
        part.replayed, part.inside = {}, 0
        return part

    @contextmanager
    def launched(self) -> Iterator[None]:
        """Inside, products are launched kernel by kernel, so that they can be captured as part of another graph."""
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    def jvp(self, v: Vector) -> Tensor:
        """J v."""
        if self.inside:
            return super().jvp(v)
        return self._replayed("jvp")(lambda blocks: [Chain.jvp(self, Vector(blocks))], v)[0]

    def vjp(self, u: Tensor) -> Vector:
        """Jᵀu."""
        if self.inside:
            return super().vjp(u)
        return Vector(self._replayed("vjp")(lambda one: list(Chain.vjp(self, one[0])), [u]))

    def _replayed(self, name: str) -> Replayed:
        return self.replayed.setdefault((name, in_tf32()), Replayed())
