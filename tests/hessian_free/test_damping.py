"""Damping on scripted ratios of reduction."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfbench.errors import ConfigError
from hfbench.hessian_free.damping import reduction_ratio, update_damping
from hfbench.hessian_free.globalization import Globalization

NAN, INF = math.nan, math.inf


def dampings(rhos: list[float], start: float, rules: Globalization | None = None) -> list[float]:
    values = [start]
    for rho in rhos:
        values.append(update_damping(rules or Globalization(), values[-1], rho))
    return values[1:]


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


def test_on_a_schedule_it_falls_at_every_step_whatever_rho() -> None:
    rules = Globalization(adapt_damping=False, schedule_damping=True, damping_decay=0.5, min_damping=1.0)
    ratios: list[float] = [-INF, 0.5, NAN, 1.0]
    assert dampings(ratios, 10.0, rules) == [5.0, 2.5, 1.25, 1.0]


def test_either_a_schedule_or_rho() -> None:
    with pytest.raises(ConfigError, match="schedule_damping: must be false where adapt_damping is true"):
        Globalization(schedule_damping=True)


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
