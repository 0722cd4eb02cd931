"""The tests that a study may declare: the sign test against SciPy, its bounds, and its interval."""

import itertools
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
    assert math.isnan(SIGN.interval(Bounds.of(np.array([])), 0.95).centre_low)


@pytest.mark.parametrize("name", TESTS)
@pytest.mark.parametrize("level", [0.95, 0.9825, 0.9925])
@pytest.mark.parametrize("n", range(2, 10))
def test_over_all_sign_flips_an_interval_covers_as_often_as_it_says(n, level, name):
    """Where n is too small for the level: [min d, max d], which covers just as often, 1 − 2^(1−n)."""
    size = np.random.default_rng(n).exponential(size=n)
    found = [TESTS[name].interval(Bounds.of(size * flips), level) for flips in itertools.product((-1, 1), repeat=n)]
    covered = np.mean([one.low <= 0 <= one.high for one in found])
    least = 1 - 2.0 ** (1 - n)
    assert {one.level for one in found} == {min(level, least)}
    assert covered >= found[0].level
    if least < level:
        assert (found[-1].low, found[-1].high) == (size.min(), size.max())
        assert covered == least


@pytest.mark.parametrize("name", TESTS)
@given(st.lists(st.integers(-3, 3), min_size=2, max_size=5))
@settings(max_examples=60, deadline=None)
def test_of_few_seeds_ties_and_zeros_cover_no_less_often(name, values):
    flips = np.array(list(itertools.product((-1, 1), repeat=len(values))))
    found = [TESTS[name].interval(Bounds.of(flip * np.array(values, dtype=float)), 0.95) for flip in flips]
    assert np.mean([one.low <= 0 <= one.high for one in found]) >= found[0].level == 1 - 2.0 ** (1 - len(values))


@pytest.mark.parametrize("name", TESTS)
def test_of_few_seeds_an_end_that_nothing_bounds_stays_open(name):
    d, inf = np.array([-0.4, -0.1, 0.2, 0.3]), math.inf
    above = TESTS[name].interval(Bounds(d, np.where(d == 0.2, inf, d)), 0.95)
    assert (above.low, above.high, above.level) == (-0.4, inf, 0.875)
    anywhere = TESTS[name].interval(Bounds(np.full(4, -inf), np.full(4, inf)), 0.95)
    assert (anywhere.low, anywhere.high, anywhere.level) == (-inf, inf, 0.95)  # the whole line: at any level
    one = TESTS[name].interval(Bounds.of(d[:1]), 0.95)
    assert (one.centre_low, one.low, one.high, one.level) == (-0.4, -inf, inf, 0.95)


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
