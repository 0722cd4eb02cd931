"""Kronecker factors of a layer's block of the Gauss-Newton matrix, summed over cases.

With the rows of `hfbench.curvature.layer_io`, case i's gradient of ⟨u_i, z_i⟩ by a layer's weights is Σ_t l_it r_itᵀ.
For u = B v with random signs v, its second moment is the layer's block of G in expectation. K-FAC approximates it by a
Kronecker product:
    mean_i (Σ_t l_it r_itᵀ)²  ≈  L ⊗ R,    R = mean_i Σ_t r_it r_itᵀ,    L = mean_i mean_t l_it l_itᵀ
Source: Martens and Grosse (2015), section 3, for one row per case; Grosse and Martens (2016), section 3, for
convolutions, whose rows at different places are assumed uncorrelated and identically distributed.
A bias is one more column of R, the homogeneous coordinate, if it multiplies the same l as its weight. The bias of a
transposed convolution, which multiplies δ, is a separate block, and so is one whose weight is not trained.
Parameters of other layers (embeddings, normalisation, grouped convolutions), layers that are called more than once and
weights that are used in two places have none: `hfbench.curvature.block_factors` has diagonals for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from hfbench.curvature.block_factors import BlockFactors
from hfbench.curvature.layer_io import KINDS, Layer, LayerIO, LayerIOSource, Transposed, covered_layers
from hfbench.errors import ConfigError
from hfbench.linalg.precision import sum_of_outer

SLICE_ENTRIES = 2**22  # of a layer's windows at a time
SLICE_OF_GRADIENTS = 2**20  # entries of per-case gradients at a time

Block = tuple[int, ...]  # positions of its parameters
Bases = Mapping[Block, tuple[Tensor, Tensor]]  # Q_L (p × p) and Q_R (q × q)


@dataclass
class LayerFactors(BlockFactors):
    """Factors of one block, as sums over cases: Σ_i mean_t l_it l_itᵀ (p × p) and Σ_i Σ_t r_it r_itᵀ (q × q)."""

    weight: int | None  # positions among the trained parameters; the block is the weight's, the bias's, or of both
    bias: int | None
    left: Tensor
    right: Tensor  # with a bias beside a weight, q is one more
    places: float  # T
    spent: float  # multiplications per case that the sums took
    squares: Tensor | None = None  # of gradients in the eigenvectors of both factors (`add_layer_squares`), if formed

    @property
    def positions(self) -> list[int]:
        return [i for i in (self.weight, self.bias) if i is not None]

    @property
    def shape(self) -> tuple[int, int]:
        """p and q."""
        return len(self.left), len(self.right)

    @property
    def tensors(self) -> list[Tensor]:
        return [self.left, self.right]

    def with_tensors(self, tensors: Sequence[Tensor]) -> LayerFactors:
        left, right = tensors
        return replace(self, left=left, right=right, squares=None)

    def take(self, parts: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        columns = [parts[i].reshape(len(self.left), -1) for i in self.positions]
        if len(columns) == 1:
            return columns[0].to(dtype)
        weight, bias = columns
        joined = weight.new_empty(len(weight), weight.shape[1] + 1, dtype=dtype)
        joined[:, :-1] = weight
        joined[:, -1:] = bias
        return joined

    def put(self, V: Tensor, parts: Sequence[Tensor]) -> None:
        columns = torch.split(V, [V.shape[1] - 1, 1], 1) if len(self.positions) > 1 else [V]
        for i, entries in zip(self.positions, columns, strict=True):
            parts[i].copy_(entries.reshape(parts[i].shape))

    def add_(self, other: BlockFactors) -> None:
        """Adds the sums over other cases. Raises ConfigError if those have another number of places."""
        assert isinstance(other, LayerFactors)
        if other.places != self.places:
            raise ConfigError(
                f"Kronecker factors need the same number of places of a layer for every case, but trained parameter "
                f"{self.positions[0]} has {self.places:g} per case in one chunk and {other.places:g} in another: is an "
                "input of its layer the same for all cases? A diagonal preconditioner takes any layer."
            )
        super().add_(other)

    @property
    def pass_cost(self) -> float:
        """T·p·q."""
        return self.places * len(self.left) * len(self.right)


def layer_factors(z: Tensor, capture: LayerIOSource, probes: Sequence[Tensor]) -> list[LayerFactors]:
    """The sums over one batch, one or two blocks per layer that has factors. Raises ConfigError if none has."""
    places = {id(p): i for i, p in enumerate(capture.trained)}
    blocks = [
        block
        for seens in zip(*(capture.passes(z, u) for u in probes), strict=True)
        for block in _blocks(seens, capture.cases, places)
    ]
    if not blocks:
        raise ConfigError(_refused(capture.problem(z)))
    return blocks


def add_layer_squares(sums: Mapping[Block, Tensor], z: Tensor, capture: LayerIOSource, u: Tensor, bases: Bases) -> None:
    """Adds Σ_i (Q_Lᵀ g_i Q_R)∘² of every block to `sums`, g_i case i's gradient of ⟨u_i, z_i⟩ as a matrix (p × q).

    These are the eigenvalues of the best approximation with the eigenvectors Q_L ⊗ Q_R: George et al. (2018), "Fast
    approximate natural gradient descent in a Kronecker-factored eigenbasis", arXiv 1806.03884, section 3.1. Where rows
    are not known to be by case, places are taken as uncorrelated, as the factors take them.
    """
    by_case, places = capture.explains(z), {id(p): i for i, p in enumerate(capture.trained)}
    for seen in capture.passes(z, u):
        for some in (seen,) if seen.is_plain else seen.slices(SLICE_OF_GRADIENTS):
            for block, left, right in _sides(some, places):
                Q_L, Q_R = bases[block]
                sums[block].add_(_squared(left.to(Q_L) @ Q_L, right.to(Q_R) @ Q_R, by_case))


def _sides(seen: LayerIO, where: dict[int, int]) -> Iterator[tuple[Block, Tensor, Tensor]]:
    """The rows l (n × T × p) and r (n × T × q) of every block of a layer, as `_blocks` has them."""
    weight, joined, alone = _positions(seen.layer, where)
    if weight is not None:
        left, right = seen.rows()
        right = right if joined is None else functional.pad(right, (0, 1), value=1.0)
        yield tuple(i for i in (weight, joined) if i is not None), left, right
    if alone is not None:
        yield (alone,), seen.units, seen.units.new_ones(*seen.units.shape[:2], 1)


def _positions(layer: Layer, where: dict[int, int]) -> tuple[int | None, int | None, int | None]:
    """Positions of a layer's weight, of a bias in one block with it, and of a bias that is a block of its own."""
    weight, bias = where.get(id(layer.weight)), where.get(id(layer.bias))
    if weight is None or isinstance(layer, Transposed):
        return weight, None, bias
    return weight, bias, None


def _squared(left: Tensor, right: Tensor, by_case: bool) -> Tensor:
    """Σ_i (Σ_t l_it r_itᵀ)∘², or Σ_i Σ_t (l_it r_itᵀ)∘²."""
    if left.shape[1] == 1 or not by_case:
        return left.flatten(0, 1).square().T @ right.flatten(0, 1).square()
    return (left.transpose(1, 2) @ right).square().sum(0)


def check_factors(model: nn.Module) -> None:
    """Raises ConfigError, which names the first layer, if none of the model can have Kronecker factors."""
    layers, fault = covered_layers(model)
    if not layers:
        raise ConfigError(_refused(fault or "no parameter is trained"))


def _refused(fault: str) -> str:
    kinds = ", ".join(kind.__name__ for kind in KINDS)
    return (
        f"Kronecker factors need a layer ({kinds}; groups=1) with trained parameters of its own, called once in a "
        f"forward pass, but there is none: {fault}; a diagonal preconditioner takes any layer."
    )


def _blocks(seens: Sequence[LayerIO], cases: int, where: dict[int, int]) -> Iterator[LayerFactors]:
    """Blocks of a layer: weight and bias together, or one each; one `LayerIO` per probe."""
    first = seens[0]
    layer, share = first.layer, 1 / len(seens)
    weight, joined, alone = _positions(layer, where)
    if weight is not None:
        inputs = _gram(seens[:1], lambda one: one.of_inputs, column=joined is not None)
        deltas = _gram(seens, lambda one: one.of_deltas) * share
        places = first.places * len(first.a) / cases
        spent = places * (len(inputs) ** 2 + len(seens) * len(deltas) ** 2)
        left, right = (inputs, deltas) if isinstance(layer, Transposed) else (deltas, inputs)
        yield LayerFactors(weight, joined, left / places, right, places, spent)
    if alone is not None:
        units = _gram(seens, lambda one: one.units) * share
        places = first.delta.numel() / len(units) / cases
        ones = units.new_full((1, 1), cases * places)
        yield LayerFactors(None, alone, units / places, ones, places, places * len(seens) * len(units) ** 2)


def _gram(seens: Sequence[LayerIO], rows_of: Callable[[LayerIO], Tensor], column: bool = False) -> Tensor:
    """Σ x xᵀ over the rows x of all cases and places, extended by a column of ones if wanted.

    Rows of bfloat16 are summed in float32, without rounding: it would take from a factor more than its damping adds.
    """
    total: Tensor | None = None
    for seen in seens:
        for some in (seen,) if isinstance(seen.layer, nn.Linear) else seen.slices(SLICE_ENTRIES):
            x = rows_of(some).flatten(0, 1)
            x = functional.pad(x, (0, 1), value=1.0) if column else x
            if total is not None and total.dtype == x.dtype:
                total.addmm_(x.T, x)
                continue
            dtype = torch.promote_types(x.dtype, torch.float32)
            gram = sum_of_outer(x, x, x.new_empty(x.shape[1], x.shape[1], dtype=dtype))
            total = gram if total is None else total.add_(gram)
    assert total is not None  # a batch is never empty
    return total
