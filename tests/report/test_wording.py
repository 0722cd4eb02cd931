"""Wording of numbers."""

import math

import pytest

from hfbench.report.wording import interval


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.58, 0.784, "0.58-0.78"),
        (0, 1.2, "≤1.20"),
        (0.5, math.inf, "≥0.50"),
        (0, math.inf, "–"),
        (math.nan, math.nan, "–"),
    ],
)
def test_an_interval_without_ends_is_a_dash(low: float, high: float, said: str) -> None:
    assert interval(low, high) == said
