"""Sums over cases of a block: added up over chunks, divided, and averaged over steps."""

from __future__ import annotations

import pytest
import torch

from hfbench.curvature.block_factors import BlockFactors, DiagonalFactor
from hfbench.curvature.kronecker_factors import LayerFactors


def layer(scale: float) -> LayerFactors:
    return LayerFactors(0, 1, scale * torch.eye(2), scale * torch.ones(4, 4), 1.0, 20.0)


def diagonal(scale: float) -> DiagonalFactor:
    return DiagonalFactor(2, scale * torch.ones(2, 3))


@pytest.mark.parametrize("make", [layer, diagonal])
def test_sums_are_added_divided_and_averaged(make) -> None:
    one: BlockFactors = make(2.0)
    one.add_(make(6.0))
    assert all(torch.equal(a, b) for a, b in zip(one.tensors, make(8.0).tensors, strict=True))
    mean = one.mean_(4)
    assert mean is one
    between = mean.towards(make(10.0), 0.25)
    assert all(torch.allclose(a, b) for a, b in zip(between.tensors, make(4.0).tensors, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(one.tensors, make(2.0).tensors, strict=True)), "in new tensors"
    assert (between.positions, between.shape, between.pass_cost) == (one.positions, one.shape, one.pass_cost)


@pytest.mark.parametrize(("make", "shape"), [(layer, (2, 4)), (diagonal, (2, 3))])
def test_entries_are_taken_in_another_dtype_and_put_back(make, shape: tuple[int, int]) -> None:
    parts = [torch.arange(6.0).view(2, 3), torch.tensor([7.0, 8.0]), 9 + torch.arange(6.0).view(2, 3)]
    block = make(1.0)
    V = block.take(parts, torch.float64)
    assert (V.dtype, tuple(V.shape)) == (torch.float64, shape)
    back = [torch.zeros_like(part) for part in parts]
    block.put(V, back)
    for i, part in enumerate(parts):
        assert torch.equal(back[i], part if i in block.positions else torch.zeros_like(part))
