"""Products with the Hessian by double backpropagation, counted where they are made.

An optimiser such as AdaHessian differentiates the gradient that it is given, once for every probe. Whoever hands it the
gradient can see that: the derivative passes through a node of the graph that notes it.

Cost       differentiating a pass costs twice the pass: two passes forward and two back for each product
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor

from hfbench.curvature.work_ledger import Ledger


class CountedHessian:
    """Hands out blocks of a gradient on `cases` cases; what differentiates them is counted as one product a time."""

    def __init__(self, ledger: Ledger, cases: int) -> None:
        self.ledger, self.cases = ledger, cases
        self.seen: Counter[int] = Counter()  # derivatives taken, by block
        self.blocks = self.products = 0

    def __call__(self, block: Tensor) -> Tensor:
        self.blocks += 1
        counted: Tensor = _Noted.apply(block, self, self.blocks)  # type: ignore[no-untyped-call]
        return counted

    def note(self, block: int) -> None:
        """Notes a derivative. A product takes one of every block, or of some, so that the most often seen counts."""
        self.seen[block] += 1
        if self.seen[block] > self.products:
            self.products += 1
            self.ledger.count("forward", 2 * self.cases)
            self.ledger.count("backward", 2 * self.cases)


class _Noted(torch.autograd.Function):
    """The identity, whose derivative tells of itself."""

    @staticmethod
    def forward(ctx: Any, block: Tensor, counted: CountedHessian, index: int) -> Tensor:
        ctx.counted, ctx.index = counted, index
        return block.view_as(block)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor, None, None]:
        ctx.counted.note(ctx.index)
        return u, None, None
