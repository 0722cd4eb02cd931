"""Numbers within bounds."""

import math

import numpy as np
import pytest

from hfbench.statistics.bounds import Bounds, nearest_to_zero


def test_bounds_by_hand():
    of = Bounds(np.array([1.0, -math.inf, math.inf]), np.array([1.0, 2.0, math.inf]))
    assert of.known.tolist() == [True, False, True]
    assert (of.complete, of.finite, len(of)) == (False, False, 3)
    assert ((-of).low.tolist(), (-of).high.tolist()) == ([-1, -2, -math.inf], [-1, math.inf, -math.inf])
    assert of.shifted(1.0).high.tolist() == [2, 3, math.inf]
    assert Bounds.of(np.array([math.inf])).complete
    assert not Bounds.of(np.array([math.inf])).finite
    assert Bounds.of(np.array([0.5])).finite


@pytest.mark.parametrize(
    ("low", "high", "nearest"), [(1, 2, 1), (-2, -1, -1), (-1, 1, math.nan), (3, 3, 3), (-math.inf, math.inf, math.nan)]
)
def test_the_number_nearest_to_zero(low, high, nearest):
    assert nearest_to_zero(low, high) == pytest.approx(nearest, nan_ok=True)
