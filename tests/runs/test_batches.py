"""Which cases a step sees: windows, chunks as in Martens' code, and nested random draws."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hfbench.errors import ConfigError
from hfbench.parts.protocols import BatchPlan
from hfbench.runs.batches import draw_cases, draw_name
from hfbench.runs.random_streams import generator


def plan(gradient: int, curvature: int, order: str = "cyclic") -> BatchPlan:
    return BatchPlan(gradient, curvature, order, "test")


def test_curvature_on_martens_chunks() -> None:
    """Gradient on everything, curvature on chunk (iteration - 1) mod c."""
    for iteration in range(1, 10):
        gradient, curvature = draw_cases(plan(20, 5), iteration, 20, None)
        assert sorted(gradient.tolist()) == list(range(20))
        chunk = (iteration - 1) % 4
        assert curvature.tolist() == list(range(5 * chunk, 5 * chunk + 5))


def test_windows_follow_one_another_and_wrap() -> None:
    seen = [draw_cases(plan(4, 4), iteration, 10, None)[0].tolist() for iteration in range(1, 5)]
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1], [2, 3, 4, 5]]


def test_an_epoch_meets_no_case_twice_and_the_next_one_is_drawn_anew() -> None:
    """Three windows of 3 out of 10 cases: one is left over, another in each epoch."""
    steps = [plan(3, 2, "epochs")] * 9
    names = [draw_name(each, iteration, 10) for iteration, each in enumerate(steps, 1)]
    assert names == [f"batches/epoch-{epoch}" for epoch in (0, 0, 0, 1, 1, 1, 2, 2, 2)]
    drawn = [
        draw_cases(each, iteration, 10, generator(0, name))
        for iteration, (each, name) in enumerate(zip(steps, names, strict=True), 1)
    ]
    epochs = [torch.cat([gradient for gradient, _ in drawn[first : first + 3]]).tolist() for first in (0, 3, 6)]
    assert all(len(set(epoch)) == 9 for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert all(curvature.tolist() == gradient[:2].tolist() for gradient, curvature in drawn)


def test_equal_sizes_give_one_tensor() -> None:
    for order in ("cyclic", "random", "epochs"):
        gradient, curvature = draw_cases(plan(6, 6, order), 3, 10, generator(0, "batches/3"))
        assert gradient is curvature


@given(st.data(), st.sampled_from(["cyclic", "random", "epochs"]), st.integers(1, 50))
def test_cases_are_distinct_and_the_curvatures_among_the_gradients(data: st.DataObject, order: str, step: int) -> None:
    total = data.draw(st.integers(1, 40))
    size = data.draw(st.integers(1, total))
    part = data.draw(st.integers(1, size))
    gradient, curvature = draw_cases(plan(size, part, order), step, total, generator(0, f"batches/{step}"))
    assert len(set(gradient.tolist())) == len(gradient) == size
    assert len(set(curvature.tolist())) == len(curvature) == part
    assert set(curvature.tolist()) <= set(gradient.tolist()) <= set(range(total))


def test_random_draws_are_nested_across_sizes() -> None:
    """Two methods of a study meet the same cases as far as their sizes agree."""
    small, large = (draw_cases(plan(n, n // 2, "random"), 7, 30, generator(3, "batches/7")) for n in (8, 20))
    assert large[0][:8].tolist() == small[0].tolist()
    assert small[1].tolist() == small[0][:4].tolist()
    other = draw_cases(plan(8, 4, "random"), 8, 30, generator(3, "batches/8"))
    assert other[0].tolist() != small[0].tolist()


def test_same_stream_same_cases() -> None:
    first, second = (draw_cases(plan(9, 9, "random"), 1, 30, generator(5, "batches/1"))[0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("sizes", [(0, 0), (5, 0), (4, 5), (11, 5), (-1, -1)])
def test_bad_plans(sizes: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=f"curvature={sizes[1]}, gradient={sizes[0]}"):
        draw_cases(plan(*sizes), 1, 10, None)


def test_an_unknown_order_is_no_window() -> None:
    with pytest.raises(ConfigError, match="did you mean 'cyclic'"):
        draw_cases(plan(5, 5, "cylic"), 1, 10, None)
