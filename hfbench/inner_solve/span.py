"""The damped system on the span of a few directions: VᵀAV and Vᵀg, from J v of the directions and no Jᵀ.

A direction may be cut into parts, each its blocks of one layer or of one parameter, and zero elsewhere; the parts then
span the space. With Q the columns Bᵀ J v/√n,
    VᵀAV = QᵀQ + Vᵀ(mu D + lambda I)V,    Vᵀg;    float64 from Q on, since parts may be nearly parallel
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hfbench.curvature.linearisation import Linearisation
from hfbench.linalg.vector import Vector, empty_vector


class GaussNewtonSpan:
    """Parts of k vectors, those of the first group first: `matrix` is VᵀAV (float64, parts × parts).

    A = G + diag(shift), with a number of `shift` for each block.
    """

    def __init__(self, linearisation: Linearisation, shift: Sequence[float], V: Sequence[Vector], split: str) -> None:
        self.at, self.shift, self.V = linearisation, shift, V
        P = len(self.at.blocks)
        groups: dict[str, list[list[int]]] = {
            "none": [list(range(P))],
            "layers": self.at.layers,
            "parameters": [[i] for i in range(P)],
        }
        self.groups = groups[split]
        self.blocks = [self.at.layout.unpack(v) for v in V]
        before = self.at.ledger.products
        gram, self.JV = self.at.gram_of_parts(V, self.groups)  # JV: cases × parts × outputs; None if streamed
        self.products = self.at.ledger.products - before
        self.matrix = gram + self._of_shift()

    @property
    def size(self) -> int:
        """The number of parts."""
        return len(self.V) * len(self.groups)

    @property
    def rounding(self) -> float:
        """Relative error of `matrix` by rounding: that of its sums, and twice that of J v, as a Gram matrix has it."""
        eps = torch.finfo(self.at.precision.dtype).eps
        return self.size * max(eps * eps, torch.finfo(self.at.blocks[0].dtype).eps)

    @property
    def cost_of_product(self) -> float:
        """Products that `multiply` takes: half of one, but all of it where J v was not kept."""
        return 1.0 if self.JV is None else 0.5

    def slopes(self, g: Vector) -> Tensor:
        """Vᵀg in float64."""
        blocks = self.at.layout.unpack(g)
        dots = torch.tensor([v.dots(blocks) for v in self.blocks], dtype=torch.float64)
        return torch.cat([dots[:, list(group)].sum(1) for group in self.groups])

    def combined(self, c: Sequence[float]) -> Vector:
        """Σ c_j (part j)."""
        k, combined = len(self.V), empty_vector(self.at.blocks)
        for index, group in enumerate(self.groups):
            first, *others = c[k * index : k * (index + 1)]
            for i in group:
                torch.mul(self.blocks[0][i], first, out=combined[i])
                for v, coefficient in zip(self.blocks[1:], others, strict=True):
                    combined[i].add_(v[i], alpha=coefficient)
        return self.at.layout.pack(combined)

    def multiply(self, c: Sequence[float], x: Vector) -> Vector:
        """A x for x = Σ c_j (part j), which is given: one Jᵀ, and if the batch is streamed one J as well."""
        self.products += self.cost_of_product
        if self.JV is None:
            product = self.at.gauss_newton(x)
        else:
            coefficients = torch.tensor(c, dtype=self.JV.dtype, device=self.JV.device)
            Jx = torch.tensordot(self.JV, coefficients, ([1], [0]))
            product = self.at.vjp(self.at.loss_at.hessian(Jx) / self.at.n)
        return product.add(x, self.at.layout.spread(self.shift))

    def _of_shift(self) -> Tensor:
        """Vᵀ(mu D + lambda I)V: parts of different groups have no entry in common."""
        k, matrix = len(self.V), torch.zeros(self.size, self.size, dtype=torch.float64)
        dots = {(a, b): self.blocks[a].dots(self.blocks[b]) for a in range(k) for b in range(a + 1)}
        for index, group in enumerate(self.groups):
            for (a, b), by_block in dots.items():
                product = sum(self.shift[i] * by_block[i] for i in group)
                matrix[k * index + a, k * index + b] = matrix[k * index + b, k * index + a] = product
        return matrix
