"""Backtracking: which iterates are kept, and which of them is chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hfbench.hessian_free.backtracking import KeptIterates, backtrack, kept_indices
from hfbench.parts.protocols import Breakdown

NAN, INF = math.nan, math.inf


@dataclass
class Kept:
    k: int
    x: int


def chosen(values: list[float]) -> tuple[int, float, list[int]]:
    """The index chosen among kept iterates with these objectives, its objective, and what was evaluated."""
    asked: list[int] = []

    def f(x: int) -> float:
        asked.append(x)
        return values[x]

    state, value = backtrack([Kept(5 + i, i) for i in range(len(values))], f)  # type: ignore[arg-type]
    return state.x, value, asked


@pytest.mark.parametrize(
    ("values", "index"),
    [
        ([3.0, 2.0, 1.0], 2),  # the last is best
        ([1.0, 2.0, 3.0], 0),  # falls all the way down
        ([0.0, 5.0, 2.0, 3.0], 2),  # stops at the first rise: the better one beyond the gap is not looked for
        ([2.0, 2.0, 2.0], 0),  # equal is not larger
        ([4.0], 0),
        ([NAN, 1.0, 2.0], 1),  # a NaN below is a rise
        ([INF, 1.0, 2.0], 1),
        ([1.0, 2.0, INF], 0),  # infinite ones above are left behind
        ([1.0, NAN, INF], 0),
        ([3.0, 1.0, NAN], 1),  # and NaN ones
        ([1.0, INF, NAN, NAN], 0),
    ],
)
def test_backtracking(values: list[float], index: int) -> None:
    found, value, _ = chosen(values)
    assert found == index
    assert value == values[index]


def test_backtracking_asks_no_more_than_it_needs() -> None:
    assert chosen([0.0, 5.0, 2.0, 3.0])[2] == [3, 2, 1]


@given(st.lists(st.floats(allow_nan=True), min_size=1, max_size=12))
@example([-INF, 0.0, INF])
@example([0.0, -INF, -1.0])
def test_backtracking_never_ends_above_a_finite_last(values: list[float]) -> None:
    index, value, asked = chosen(values)
    assert asked == list(range(len(values) - 1, len(values) - 1 - len(asked), -1))
    if math.isfinite(values[-1]):
        assert value <= values[-1]
        assert index == 0 or not (math.isfinite(values[index - 1]) and values[index - 1] <= value)
    elif any(math.isfinite(v) for v in values):
        assert math.isfinite(value)


@dataclass
class State:
    k: int
    q: float
    products: float = 0.0
    breakdown: Breakdown | None = None
    x: Any = None


def descending(steps: int) -> list[State]:
    return [State(k, -float(k), float(k)) for k in range(steps)]


def kept(steps: int, **settings: Any) -> list[int]:
    record = KeptIterates(**settings)
    for state in descending(steps + 1):
        record(state)
    return [state.k for state in record.states]


def test_martens_grid() -> None:
    assert kept(64) == [5, 7, 9, 11, 15, 19, 25, 32, 41, 54, 64]
    assert kept(54)[-2:] == [41, 54], "the last one is not kept twice"
    assert kept(3) == [3]
    assert kept(0) == [0]
    assert KeptIterates().states == []


@given(st.integers(1, 20), st.floats(1.001, 3.0), st.integers(0, 150))
def test_grid_is_the_formula(start: int, growth: float, steps: int) -> None:
    product, formula = float(start), set()
    while math.ceil(product) <= steps:
        formula.add(math.ceil(product))
        product *= growth
    assert kept(steps, start=start, growth=growth) == sorted(formula | {steps})


def test_indices_end_where_floats_do() -> None:
    indices = list(kept_indices())
    assert indices[:5] == [5, 7, 9, 11, 15]
    assert 1e307 < indices[-1] < 10**309


def test_growth_near_one_keeps_every_iterate() -> None:
    assert kept(250, start=1, growth=1.001) == list(range(1, 251))
