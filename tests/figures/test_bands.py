"""Bands: curves resampled, their medians and quartiles, and where they end."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.drawn_figures import trace

from hfbench.figures.bands import band, by_iteration, quantile, resample


def curve(work, error):
    work = np.asarray(work, dtype=float)
    return pd.DataFrame({"work": work, "seconds": work / 9, "test_error": error})


def falling(seed, end=100.0):
    work = np.concatenate([[0.0], np.geomspace(1, end, 30)])
    return curve(work, 80 / (1 + 0.1 * work) * (1 + 0.01 * seed))


def flat(levels=(1.0, 2.0, 3.0, 4.0, 5.0)):
    return [curve([1, 10], [level, level]) for level in levels]


def test_resampling_carries_the_last_record_forward():
    grid = np.array([0.5, 1.0, 1.9, 2.0, 3.0, 4.0, 4.1])
    values = resample(np.array([1.0, 2.0, 4.0]), np.array([10.0, 5.0, 1.0]), grid)
    np.testing.assert_array_equal(values, [np.nan, 10, 10, 5, 5, 1, np.nan])


def test_a_band_is_the_median_and_the_quartiles():
    found = band(flat(), "work", "test_error")
    assert (found.x[0], found.x[-1]) == (1.0, 10.0)
    np.testing.assert_allclose(found.median, 3.0)
    np.testing.assert_allclose(found.low, 2.0)
    np.testing.assert_allclose(found.high, 4.0)


@given(
    arrays(float, (7, 4), elements=st.one_of(st.floats(-1e3, 1e3), st.just(np.nan), st.just(-np.inf))),
    st.sampled_from([0.25, 0.5, 0.75]),
)
def test_quantiles_are_numpys_of_the_finite_values(values, share):
    values[0] = 1.0
    finite = np.where(np.isfinite(values), values, np.nan)
    np.testing.assert_allclose(quantile(values, share), np.nanpercentile(finite, 100 * share, axis=0), atol=1e-9)


def test_a_band_ends_where_fewer_than_five_seeds_go_on():
    ends = [10, 20, 30, 40, 50, 60, 70]
    found = band([falling(0, end) for end in ends], "work", "test_error")
    assert found.x[-1] <= 30 < found.x[-1] * 1.02
    three = band([falling(0, end) for end in ends[:3]], "work", "test_error")
    assert three.x[-1] <= 10 < three.x[-1] * 1.02


def test_values_that_are_not_finite_are_absent():
    broken = curve([0, 1, 2, 3], [9.0, 8.0, np.inf, np.nan])
    assert band([broken], "work", "test_error").x[-1] == 1.0
    assert band([curve([0.0], [9.0])], "work", "test_error") is None
    assert band([], "work", "test_error") is None


def test_an_iteration_no_seed_has_a_value_for_is_a_gap():
    found = by_iteration([trace(4, rho=[np.nan, 1.0, np.nan, 3.0, np.nan])], "rho")
    np.testing.assert_array_equal(found.x, [1, 2, 3])
    np.testing.assert_array_equal(found.median, [1, np.nan, 3])
