"""Damping, backtracking and line search on scripted numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from hfbench.errors import ConfigError
from hfbench.hessian_free.backtracking import backtrack
from hfbench.hessian_free.damping import reduction_ratio, update_damping
from hfbench.hessian_free.globalization import Globalization
from hfbench.hessian_free.line_search import Step, line_search
from hfbench.linalg.vector import Vector
from hfbench.parts.hyperparameters import build

NAN, INF = math.nan, math.inf


def dampings(rhos: list[float], start: float, rules: Globalization | None = None) -> list[float]:
    values = [start]
    for rho in rhos:
        values.append(update_damping(rules or Globalization(), values[-1], rho))
    return values[1:]


# ---------------------------------------------------------------- lambda


def test_scripted_ratios() -> None:
    assert dampings([0.1, 0.5, 0.8, 0.8, -3.0, -INF], 36.0) == pytest.approx([54, 54, 36, 24, 36, 54])


def test_lambda_leaves_zero_when_a_step_fails() -> None:
    assert dampings([0.1, 0.1], 0.0, Globalization(min_damping=1e-4)) == pytest.approx([1e-4, 1.5e-4])


@pytest.mark.parametrize("rho", [0.25, 0.75, NAN, 0.5])
def test_ratios_that_change_nothing(rho: float) -> None:
    """The limits themselves, and NaN, which says that there was no step to judge."""
    assert dampings([rho], 45.0) == [45.0]


@pytest.mark.parametrize("rho", [0.7500001, 1.0, 50.0, INF])
def test_good_ratios_lower_it(rho: float) -> None:
    assert dampings([rho], 45.0) == [pytest.approx(30.0)]


def test_it_is_not_lowered_below_its_bound() -> None:
    rules = Globalization(min_damping=1.0)
    assert dampings([1.0] * 4, 2.0, rules) == pytest.approx([4 / 3, 1, 1, 1])
    assert dampings([1.0, 0.0], 0.5, rules) == [0.5, 1.0], "a start below the bound is left until it must rise"
    assert dampings([1.0] * 1000, 45.0)[-1] == Globalization().min_damping


def test_switched_off_it_stays() -> None:
    assert dampings([-INF, 0.0, 1.0], 45.0, Globalization(adapt_damping=False)) == [45.0] * 3


@given(st.lists(st.floats(allow_nan=True), max_size=60), st.floats(1e-6, 1e3))
def test_it_stays_a_positive_number(rhos: list[float], start: float) -> None:
    assert all(value > 0 and math.isfinite(value) for value in dampings(rhos, start))


@pytest.mark.parametrize(
    ("before", "after", "q", "rho"),
    [
        (2.0, 1.0, -2.0, 0.5),
        (2.0, 2.0, -1.0, 0.0),
        (2.0, 2.5, -1.0, -INF),
        (2.0, NAN, -1.0, -INF),
        (2.0, INF, -1.0, -INF),
        (2.0, 1.0, 0.5, -2.0),
        (2.0, 2.0, 0.0, NAN),
    ],
)
def test_reduction_ratio(before: float, after: float, q: float, rho: float) -> None:
    assert reduction_ratio(before, after, q) == pytest.approx(rho, nan_ok=True)


# ---------------------------------------------------------------- backtracking


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


# ---------------------------------------------------------------- line search

P = Vector((torch.ones(1, dtype=torch.float64),))


class Recorded:
    """An objective of the step's length that notes what it is asked."""

    def __init__(self, f: Callable[[float], float]) -> None:
        self.f, self.lengths = f, list[float]()

    def __call__(self, p: Vector) -> float:
        self.lengths.append(float(p[0]))
        return self.f(self.lengths[-1])


def search(f: Callable[[float], float], f_0: float, slope: float, **settings: float) -> tuple[Step, Recorded]:
    recorded = Recorded(f)
    rules = build(Globalization, settings)
    return line_search(rules, recorded, P, f_0, f(1.0), slope), recorded


def test_a_good_full_step_costs_nothing() -> None:
    step, f = search(lambda length: 1.0 - length, f_0=1.0, slope=-1.0)
    assert step == Step(1.0, 0.0)
    assert f.lengths == []


def test_the_first_length_that_decreases_enough() -> None:
    step, f = search(lambda length: 5.0 if length > 0.5 else 0.5, f_0=1.0, slope=-1.0)
    assert f.lengths == pytest.approx([0.8, 0.64, 0.512, 0.4096])
    assert step == Step(f.lengths[-1], 0.5)


def test_a_decrease_must_reach_a_part_of_the_slope() -> None:
    """f falls, but at length 1 by less than 0.01 of what the slope promises; equality is enough."""
    assert search(lambda length: 0.995, f_0=1.0, slope=-1.0)[0].length == pytest.approx(0.8**4)
    assert search(lambda length: 0.99, f_0=1.0, slope=-1.0)[0].length == 1.0
    assert search(lambda length: 0.995, f_0=1.0, slope=-1.0, armijo=0.004)[0].length == 1.0


def test_no_step_after_sixty_tries() -> None:
    step, f = search(lambda length: 2.0, f_0=1.0, slope=-1.0)
    assert step == Step(0.0, 1.0)
    assert len(f.lengths) == 59, "the full step was known"
    assert f.lengths[-1] == pytest.approx(0.8**59)


def test_the_last_try_counts() -> None:
    assert search(lambda length: 2.0 if length > 0.9 * 0.8**58 else 0.0, 1.0, -1.0)[0].length == pytest.approx(0.8**59)
    assert search(lambda length: 2.0 if length > 0.65 else 0.0, 1.0, -1.0, max_tries=3)[0].length == pytest.approx(0.64)
    assert search(lambda length: 2.0 if length > 0.65 else 0.0, 1.0, -1.0, max_tries=2)[0].length == 0.0


def test_a_direction_of_ascent_gives_no_step() -> None:
    step, f = search(lambda length: -length, f_0=1.0, slope=1e-9)
    assert step == Step(0.0, 1.0)
    assert f.lengths == []


@pytest.mark.parametrize("bad", [NAN, INF])
def test_values_that_are_not_finite_are_no_decrease(bad: float) -> None:
    assert search(lambda length: bad if length > 0.7 else 0.5, 1.0, -1.0)[0] == Step(pytest.approx(0.64), 0.5)
    assert search(lambda length: bad, 1.0, -1.0)[0] == Step(0.0, 1.0)


def test_a_zero_step_is_accepted() -> None:
    assert search(lambda length: 1.0, 1.0, 0.0)[0] == Step(1.0, 1.0)


def test_settings() -> None:
    with pytest.raises(ConfigError, match="did you mean 'warm_start'"):
        build(Globalization, {"warmstart": 0.5}, "globalization")
    for name, value in [("keep_growth", 1.0), ("shrink", 1.0), ("initial_damping", -1.0), ("warm_start", 1.1)]:
        with pytest.raises(ConfigError, match=f"globalization.{name}"):
            build(Globalization, {name: value}, "globalization")
