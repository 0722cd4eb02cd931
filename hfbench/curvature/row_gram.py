"""Inner products of the rows of the Jacobian, K = Σ_b s_b J̃_b J̃_bᵀ over the parameter blocks b, with J̃ = Bᵀ J/√n.

A row is one output of one case; its gradient by a layer's weight is Σ_t l_t r_tᵀ (`hfbench.curvature.layer_io`). Two
rows i and j therefore have
    Σ_st (l_is · l_jt)(r_is · r_jt)       Gram matrices of l and of r: T²(p + q) multiplications a pair
    ⟨Σ_t l_it r_itᵀ, Σ_t l_jt r_jtᵀ⟩      the gradients themselves: p·q, and T·p·q a row
in common, and the cheaper of the two is taken, layer by layer. A model with other layers, or shared weights, has the
gradients of its rows formed (`hfbench.curvature.second_moments`).

Source     the neural tangent kernel: Jacot et al. (2018). By Gram matrices of layers, for physics-informed networks:
           Dangel et al. (2024), "Kronecker-factored approximate curvature for physics-informed neural networks"
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hfbench.curvature.layer_io import LayerIO

SLICE_ENTRIES = 2**18  # of a product of Gram matrices at a time: more would only leave the cache
ENTRY = 40  # multiplications that an entry of a product of Gram matrices costs beside its own: it is memory traffic
BLOCK = 192  # rows of K at a time, of which what lies left of the diagonal is computed


@dataclass(frozen=True)
class LayerRows:
    """One layer's l (rows × T × p) and r (rows × T × q), and the deltas of its bias (rows × units), in float64."""

    weight: int | None  # positions among the trained parameters
    bias: int | None
    left: Tensor
    right: Tensor
    units: Tensor

    @property
    def by_gram(self) -> bool:
        """Whether Gram matrices of l and r take fewer multiplications than gradients."""
        rows, T, p = self.left.shape
        q = self.right.shape[2]
        return rows * T * T * (p + q + ENTRY) < rows * p * q + T * p * q

    @property
    def spent(self) -> float:
        """Multiplications that `add_gram` takes."""
        rows, T, p = self.left.shape
        q = self.right.shape[2]
        pairs = rows * (rows + 1) / 2
        products = pairs * T * T * (p + q) if self.by_gram else pairs * p * q + rows * T * p * q
        of_bias = pairs * self.units.shape[1]
        return (self.weight is not None) * products + (self.bias is not None) * of_bias

    @property
    def pass_cost(self) -> float:
        """T·p·q of a forward pass of one row."""
        return float(self.left.shape[1] * self.left.shape[2] * self.right.shape[2])

    def add_gram(self, K: Tensor, scales: Sequence[float]) -> None:
        """Adds the inner products of the layer's rows, each block's by its scale, to K's lower triangle."""
        if self.bias is not None:
            add_gram_of(self.units, K, scales[self.bias])
        if self.weight is None:
            return
        if not self.by_gram:
            add_gram_of((self.left.transpose(1, 2) @ self.right).flatten(1), K, scales[self.weight])
            return
        rows, T, _ = self.left.shape
        all_left, all_right = self.left.flatten(0, 1), self.right.flatten(0, 1)
        for start, end in _blocks(rows, min(BLOCK, max(1, SLICE_ENTRIES // (rows * T * T)))):
            left, right = (side[start:end].flatten(0, 1) for side in (self.left, self.right))
            products = (left @ all_left[: end * T].T).mul_(right @ all_right[: end * T].T).view(-1, T, end, T)
            K[start:end, :end].add_(products.sum((1, 3)) if T > 1 else products[:, 0, :, 0], alpha=scales[self.weight])


def add_gram_of(rows: Tensor, K: Tensor, scale: float) -> None:
    """Adds the inner products of rows to K's lower triangle; entries right of it may change."""
    for start, end in _blocks(len(rows), BLOCK):
        K[start:end, :end].addmm_(rows[start:end], rows[:end].T, alpha=scale)


def symmetric(K: Tensor) -> Tensor:
    """K with what is left of the diagonal mirrored, in place."""
    for start, end in _blocks(len(K), BLOCK):
        K[:start, start:end] = K[start:end, :start].T
        block = K[start:end, start:end]
        block.copy_(block.tril() + block.tril(-1).T)
    return K


def _blocks(rows: int, size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + size, rows)) for start in range(0, rows, size))


def layer_rows(passes: Sequence[Sequence[LayerIO]], trained: Sequence[Tensor]) -> Iterator[LayerRows]:
    """The rows of every layer of a batch: outputs of case 0, of case 1, …; `passes` has a pass for each output."""
    position = {id(p): i for i, p in enumerate(trained)}
    for of_outputs in zip(*passes, strict=True):
        layer = of_outputs[0].layer
        left, right = zip(*(seen.rows() for seen in of_outputs), strict=True)
        yield LayerRows(
            position.get(id(layer.weight)),
            position.get(id(layer.bias)),
            _by_case(left),
            _by_case(right),
            _by_case([seen.units.sum(1) for seen in of_outputs]),
        )


def joined(chunks: Sequence[LayerRows]) -> LayerRows:
    """The rows of one layer in all chunks of a batch."""
    first = chunks[0]
    sides = (torch.cat(parts) for parts in zip(*((rows.left, rows.right, rows.units) for rows in chunks), strict=True))
    return LayerRows(first.weight, first.bias, *sides)


def _by_case(of_outputs: Sequence[Tensor]) -> Tensor:
    """Rows of each output in turn, n × …, as rows of each case in turn, in float64."""
    return torch.stack([rows.double() for rows in of_outputs], 1).flatten(0, 1)
