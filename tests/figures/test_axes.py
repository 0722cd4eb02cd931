"""Axes: few round ticks, and short numbers."""

import numpy as np
import pytest

from hfbench.figures.axes import log_ticks, tick_text

CHARACTER = 0.03  # of an axis, as wide as those of a page are


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.9, 5.0, [1, 1.5, 2, 3, 4]),
        (1, 100, [1, 2, 5, 10, 20, 50, 100]),
        (2.4, 80, [3, 5, 10, 20, 30, 50]),
        (0.01, 1000, [0.01, 0.1, 1, 10, 100, 1000]),
        (10.1, 10.9, [10.2, 10.4, 10.6, 10.8]),
    ],
)
def test_ticks_of_a_log_axis_are_few_and_round(low, high, expected):
    np.testing.assert_allclose(log_ticks(low, high), expected)


def test_a_log_axis_over_many_decades_leaves_some_out():
    ticks = log_ticks(1e-12, 1e3)
    assert len(ticks) <= 7
    np.testing.assert_allclose(np.log10(ticks), np.round(np.log10(ticks)))


def test_numbers_on_axes_are_short():
    assert [tick_text(x) for x in (0.25, 250, 9000, 20_000, 1_500_000)] == ["0.25", "250", "9000", "20k", "1.5M"]


@pytest.mark.parametrize("low", [0.012, 0.7, 17.0, 180.0, 850.0, 4000.0])
@pytest.mark.parametrize("factor", [1.7, 2.5, 4.0, 9.0, 30.0, 150.0, 2000.0])
def test_texts_below_a_log_axis_do_not_touch(low, factor):
    ticks = log_ticks(low, low * factor)
    at = np.log(np.array(ticks) / low) / np.log(factor)
    halves = np.array([CHARACTER * len(tick_text(tick)) / 2 for tick in ticks])
    assert (np.diff(at) > halves[1:] + halves[:-1]).all()
    assert len(ticks) >= 2
