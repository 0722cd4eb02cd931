"""The tests that a study may declare: the sign test against SciPy, its bounds, and its interval."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hfbench.statistics.bounds import Bounds
from hfbench.statistics.location_tests import TESTS
from hfbench.statistics.paired_tests import not_above, signed_rank_below, wilcoxon_pratt

SIGN, WILCOXON = TESTS["sign"], TESTS["wilcoxon"]
known = st.lists(st.integers(-3, 3), min_size=1, max_size=9)


@given(known)
@settings(max_examples=60, deadline=None)
def test_the_sign_test_equals_scipys_binomial_test(values):
    d = np.array(values, dtype=float)
    above, counted = int((d > 0).sum()), int((d != 0).sum())
    expected = stats.binomtest(above, counted, alternative="less").pvalue if counted else 1.0
    assert SIGN.below(Bounds.of(d)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", TESTS)
@given(known, st.lists(st.booleans(), min_size=9, max_size=9), st.lists(st.integers(-5, 5), min_size=9, max_size=9))
@settings(max_examples=100, deadline=None)
def test_what_holds_within_bounds_holds_for_every_d_there(name, values, unknown, guesses):
    test, d, open_ = TESTS[name], np.array(values, dtype=float), np.array(unknown[: len(values)])
    bounds = Bounds(np.where(open_, -math.inf, d), np.where(open_, math.inf, d))
    inside = Bounds.of(np.where(open_, np.array(guesses[: d.size], dtype=float), d))
    assert test.below(bounds) >= test.below(inside) - 1e-12
    assert test.below(-bounds) >= test.below(-inside) - 1e-12
    wide, narrow = test.interval(bounds, 0.9), test.interval(inside, 0.9)
    assert wide.centre_low <= narrow.centre_low == narrow.centre_high <= wide.centre_high
    assert wide.low <= narrow.low <= narrow.high <= wide.high


def test_the_median_and_its_interval_by_hand():
    found = SIGN.interval(Bounds.of(np.arange(1.0, 9.0)), 0.95)
    assert (found.centre_low, found.low, found.high) == (4.5, 1.0, 8.0)  # P(B < 1) = 1/256, P(B < 2) = 9/256 > .025
    few = SIGN.interval(Bounds.of(np.arange(5.0)), 0.95)
    assert (few.centre_low, few.low, few.high) == (2.0, -math.inf, math.inf)
    assert math.isnan(SIGN.interval(Bounds.of(np.array([])), 0.95).centre_low)


@pytest.mark.parametrize("n", [6, 9, 20])
def test_the_interval_of_the_median_covers_it(n):
    rng = np.random.default_rng(n)
    drawn = [Bounds.of(rng.exponential(size=n) - math.log(2)) for _ in range(1000)]  # skewed, its median 0
    ends = [SIGN.interval(d, 0.95) for d in drawn]
    assert np.mean([found.low <= 0 <= found.high for found in ends]) >= 0.94


def test_skewed_differences_are_for_the_sign_test():
    rng = np.random.default_rng(5)
    drawn = [Bounds.of(np.exp(rng.standard_normal(20)) - 1) for _ in range(1000)]  # their median is 0
    by_rank, by_sign = (
        np.mean([min(test.below(d), test.below(-d)) < 0.025 for d in drawn]) for test in (WILCOXON, SIGN)
    )
    assert by_rank > 0.08
    assert by_sign <= 0.05


def test_beside_a_margin_a_known_d_has_the_t_test_and_an_unknown_one_ranks():
    d = np.array([0.01, -0.02, 0.03, 0.0, 0.02, -0.01, 0.04])
    assert WILCOXON.not_above(Bounds.of(d), 0.1) == not_above(d, 0.1)
    cut = Bounds(d, np.where(d == 0.04, math.inf, d))
    assert WILCOXON.not_above(cut, 0.1) == signed_rank_below(cut.shifted(-0.1)) > not_above(d, 0.1)
    assert SIGN.not_above(Bounds.of(d), 0.1) == pytest.approx(1 / 2**7)


def test_a_skewed_study_may_declare_the_sign_test(tmp_path):
    from support.tiny_study import tiny

    assert tiny(tmp_path, "study.test=sign").test == "sign"
    assert tiny(tmp_path).test == "wilcoxon"
    assert wilcoxon_pratt(np.arange(1.0, 9.0)) == 2 / 2**8
