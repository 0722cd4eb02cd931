"""Vectors as columns of a matrix, and back."""

from __future__ import annotations

import torch

from hfbench.linalg.columns import as_column, as_matrix, from_column
from hfbench.linalg.vector import Vector


def test_columns_have_the_blocks_in_order_in_float64() -> None:
    v = Vector((torch.arange(6.0).view(2, 3), torch.tensor([7.0])))
    assert as_column(v).shape == (7, 1)
    assert as_column(v).dtype is torch.float64
    assert as_column(v).flatten().tolist() == [0, 1, 2, 3, 4, 5, 7]
    assert torch.equal(as_matrix([v, v * 2.0]), torch.cat([as_column(v), 2 * as_column(v)], 1))


def test_entries_become_a_vector_again() -> None:
    v = Vector((torch.arange(6.0).view(2, 3), torch.tensor([7.0])))
    for entries in (as_column(v), as_column(v)[:, 0]):
        again = from_column(v, entries)
        assert [block.dtype for block in again] == [torch.float32] * 2
        assert all(torch.equal(a, b) for a, b in zip(again, v, strict=True))
