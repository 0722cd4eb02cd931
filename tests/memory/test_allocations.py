"""Bytes of tensors alive, against sequences whose bytes are known."""

from __future__ import annotations

import torch
from torch import nn

from hfbench.memory.allocations import Moment, Tally, case_slices, reserve


def test_what_is_made_counts_until_it_is_freed() -> None:
    before = torch.zeros(1000)
    with Tally() as tally:
        a = before + 1  # 4000 bytes
        view = a[10:].reshape(-1, 10)
        before.mul_(2)
        b = torch.cat([a, a])  # 8000
        assert tally.live == 12_000
        del a
        assert tally.live == 12_000, "a view holds the memory"
        del view
        assert tally.live == 8000
        del b
    assert (tally.live, tally.peak) == (0, 12_000)
    assert [moment.live for moment in tally.moments] == [4000, 12_000]


def test_a_graph_counts_for_what_it_saves() -> None:
    layer, x = nn.Linear(10, 100, dtype=torch.float64), torch.ones(5, 10, dtype=torch.float64)
    with Tally() as tally:
        z = layer(x).sigmoid()
        assert tally.live == 5 * 100 * 8, "of what comes before it, sigmoid saves nothing"
        (g,) = torch.autograd.grad(z, layer.weight, torch.ones_like(z))
        del z
        assert tally.live == g.numel() * 8
    assert tally.peak >= 3 * 5 * 100 * 8


def test_of_slices_the_first_alone_has_moments() -> None:
    with Tally() as tally:
        for one in case_slices(10, 4):
            _ = torch.ones(one.stop - one.start)
        after = torch.ones(3)
    assert [moment.live for moment in tally.moments] == [16, 12 + 4 * 2], "the last slice is still there"
    assert tally.peak == 32
    del after


def test_bounded_slices_say_so() -> None:
    with Tally() as tally:
        a = torch.ones(1)
        for one in case_slices(6, 3, bounded=True):
            b = torch.ones(one.stop - one.start, 5)
            for inner in case_slices(3, 1, bounded=True):
                _ = b[inner] + 1
    assert tally.moments == [Moment(4), Moment(84, 80, 3)], "with one moment, the highest"
    del a


def test_slices_are_the_cases_in_order() -> None:
    assert list(case_slices(7, 3)) == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert list(case_slices(3, 9)) == [slice(0, 3)]


def test_what_is_reserved_stays() -> None:
    reserve(100)  # without a tally nothing happens
    with Tally() as tally:
        reserve(1000)
        _ = torch.ones(1)
    assert (tally.live, tally.peak, tally.moments) == (1004, 1004, [Moment(1004)])


def test_tallies_nest() -> None:
    with Tally() as outer:
        a = torch.ones(10)
        with Tally() as inner:
            b = torch.ones(5)
            reserve(7)
        reserve(3)
    assert (inner.live, outer.live) == (27, 63)
    del a, b
    assert (inner.live, outer.live) == (7, 3)
