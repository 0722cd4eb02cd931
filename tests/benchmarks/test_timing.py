"""Turns, ratios and exponents, on times that are known."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from benchmarks.timing import Quantiles, Rounds, clock, exponent, quantiles, seconds, take_turns


def test_sides_take_turns_and_the_first_is_another_each_round() -> None:
    order: list[str] = []
    take_turns({side: lambda side=side: order.append(side) for side in "abc"}, least=3, budget=0, warm_up=1)
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"


def test_seconds_are_those_of_the_clock() -> None:
    ticks = iter([10.0, 12.5])
    assert seconds(lambda: None, lambda: next(ticks)) == 2.5


def test_a_ratio_is_the_middle_of_the_rounds_ratios() -> None:
    found = Rounds({"a": [2.0, 30.0, 8.0], "b": [1.0, 10.0, 1.0]})  # a slow second round
    assert found.ratio("a", "b") == Quantiles(2.5, 3.0, 5.5)
    assert found.median("a") == 8.0


def test_rounds_go_on_while_the_budget_lasts() -> None:
    done: list[int] = []
    take_turns({"a": lambda: done.append(1) or time.sleep(0.01)}, least=1, budget=0.05, warm_up=0)
    assert 2 <= len(done) <= 6


def test_quantiles_of_one_value_are_that_value() -> None:
    assert quantiles([3.0]) == Quantiles(3.0, 3.0, 3.0)


@pytest.mark.parametrize(("threads", "expected"), [(1, time.thread_time), (2, time.perf_counter)])
def test_one_thread_is_timed_by_itself(threads: int, expected: Callable[[], float]) -> None:
    assert clock(threads) is expected


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_an_exponent_is_found_again(beta: float) -> None:
    sizes = [100, 200, 400, 1000]
    assert exponent(sizes, [3.0 * size**beta for size in sizes]) == pytest.approx(beta, rel=1e-12)


def test_a_fixed_cost_lowers_the_exponent() -> None:
    sizes = [1, 2, 4, 8]
    assert 0.4 < exponent(sizes, [2.0 + size for size in sizes]) < 0.6
