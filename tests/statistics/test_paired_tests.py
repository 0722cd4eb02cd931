"""Paired tests against SciPy, statsmodels, enumeration and simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from hfbench.statistics.paired_tests import (
    hodges_lehmann,
    holm,
    least_pairs,
    pairs_needed,
    pairs_to_differ,
    pairs_to_match,
    rank_biserial,
    rank_sum_null,
    signed_ranks,
    tost,
    wilcoxon_bounded,
    wilcoxon_pratt,
)

whole = st.lists(st.integers(-4, 4), min_size=1, max_size=8)  # few values: many ties and zeros


def _by_enumeration(d):
    signed = signed_ranks(d)
    sums = [np.dot(flips, np.abs(signed)) for flips in itertools.product((-1, 1), repeat=len(d))]
    return np.mean(np.abs(sums) >= abs(signed.sum()) - 1e-9)


@given(whole)
@settings(max_examples=60, deadline=None)
def test_wilcoxon_equals_enumeration_of_all_sign_flips(values):
    d = np.array(values, dtype=float)
    assert wilcoxon_pratt(d) == pytest.approx(_by_enumeration(d), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_wilcoxon_equals_scipys_exact_permutation(seed):
    d = np.random.default_rng(seed).integers(-3, 6, size=11).astype(float)
    method = stats.PermutationMethod(n_resamples=10**6)
    expected = stats.wilcoxon(d, zero_method="pratt", method=method).pvalue
    assert wilcoxon_pratt(d) == pytest.approx(expected, abs=1e-12)


def test_wilcoxon_without_ties_equals_scipys_exact_table_beyond_thirteen_pairs():
    d = np.random.default_rng(5).normal(0.2, 1, size=40)
    assert wilcoxon_pratt(d) == pytest.approx(stats.wilcoxon(d, method="exact").pvalue, rel=1e-10)


def test_wilcoxon_with_ties_beyond_thirteen_pairs_agrees_with_scipys_monte_carlo():
    d = np.random.default_rng(6).integers(-3, 6, size=20).astype(float)
    method = stats.PermutationMethod(n_resamples=2_000, rng=np.random.default_rng(0))
    expected = stats.wilcoxon(d, zero_method="pratt", method=method).pvalue
    assert wilcoxon_pratt(d) == pytest.approx(expected, abs=4 * math.sqrt(expected / 2_000))


@given(
    st.lists(st.integers(-9, 9).filter(bool), min_size=1, max_size=8, unique_by=abs),
    st.lists(st.integers(0, 3), min_size=8, max_size=8),
    st.lists(st.booleans(), min_size=8, max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_a_bounded_p_is_never_below_the_one_of_any_d_within(values, widths, unbounded):
    d = np.array(values, dtype=float)
    width = 0.37 * np.array(widths[: d.size])  # makes no ties
    low, high = d - width, np.where(unbounded[: d.size], np.inf, d + width)
    for inside in (d, low, d + width):
        assert wilcoxon_bounded(low, high) >= wilcoxon_pratt(inside) - 1e-12
        assert wilcoxon_bounded(-high, -low) == pytest.approx(wilcoxon_bounded(low, high))
    assert wilcoxon_bounded(d, d) == wilcoxon_pratt(d)


def test_two_seeds_without_an_upper_bound_count_as_the_largest_above():
    low = np.array([-3.0, -4, -5, -6, -7, -1, -2])
    high = np.where(low > -3, np.inf, low)
    assert wilcoxon_bounded(low, high) == pytest.approx(wilcoxon_pratt(np.array([-1.0, -2, -3, -4, -5, 6, 7])))


def test_wilcoxon_by_hand():
    assert wilcoxon_pratt(-np.arange(1.0, 7.0)) == 2 / 64
    assert wilcoxon_pratt(np.array([1.0, 1, 1, 1, 1, 1])) == 2 / 64
    assert wilcoxon_pratt(np.zeros(8)) == 1.0


def test_rank_sum_null_is_the_distribution_of_three_ranks():
    assert rank_sum_null(np.array([1.0, 2.0, 3.0]))[::2] == pytest.approx(np.array([1, 1, 1, 2, 1, 1, 1]) / 8)


def test_pratt_ranks_keep_the_places_of_zeros():
    assert signed_ranks(np.array([0.0, -1.0, 2.0, 2.0])).tolist() == [0.0, -2.0, 3.5, 3.5]


def test_rank_biserial_by_hand():
    assert rank_biserial(np.array([-1.0, -2.0, 3.0])) == 0.0
    assert rank_biserial(np.array([-1.0, -3.0, 2.0])) == pytest.approx((4 - 2) / 6)
    assert rank_biserial(np.full(4, 0.3)) == -1.0
    assert rank_biserial(np.zeros(3)) == 0.0


def test_hodges_lehmann_by_hand():
    centre, low, high = hodges_lehmann(np.array([1.0, 2, 3, 4, 5, 6]))
    assert (centre, low, high) == (3.5, 1.0, 6.0)  # P(W⁺ = 0) = 1/64 < .025 < 2/64: the extreme Walsh averages
    assert hodges_lehmann(np.array([1.0, 2, 3, 4, 5])) == (3.0, -math.inf, math.inf)
    assert math.isnan(hodges_lehmann(np.array([]))[0])
    assert hodges_lehmann(np.full(7, 0.25)) == (0.25, 0.25, 0.25)


@given(st.lists(st.integers(-1000, 1000), min_size=6, max_size=9, unique_by=abs))
@settings(max_examples=40, deadline=None)
def test_the_interval_holds_the_shifts_the_test_does_not_reject(values):
    d = np.array(values, dtype=float) + 0.25
    _, low, high = hodges_lehmann(d)
    width = max(high - low, 1.0)
    for inside in np.linspace(low, high, 7)[1:-1]:
        assert low == high or wilcoxon_pratt(d - inside) > 0.05
    assert wilcoxon_pratt(d - (low - width)) <= 0.05
    assert wilcoxon_pratt(d - (high + width)) <= 0.05


@pytest.mark.slow
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=20, deadline=None)
def test_holm_equals_statsmodels(p_values):
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist(), abs=1e-12)


def test_holm_counts_comparisons_without_a_p_value():
    assert holm([None, 0.01, None, 0.04]) == [None, 0.04, None, pytest.approx(0.12)]
    assert holm([]) == []


@pytest.mark.parametrize("shift", [-0.2, -0.05, 0.0, 0.03, 0.3])
def test_tost_equals_statsmodels(shift):
    d = np.random.default_rng(1).normal(shift, 0.1, size=10)
    expected = ttost_paired(d, np.zeros(10), -0.1, 0.1)[0]
    assert tost(d, 0.1) == pytest.approx(expected, rel=1e-9)


def test_tost_without_spread():
    assert tost(np.zeros(6), 0.1) == 0.0
    assert tost(np.full(6, 0.1), 0.1) == 1.0
    assert tost(np.full(6, -0.2), 0.1) == 1.0


@pytest.mark.parametrize("sd", [0.1, 0.2, 0.3])
@pytest.mark.parametrize("ratio", [0.95, 0.9, 0.8])
def test_pairs_to_differ_agree_with_the_power_of_the_paired_t_test(sd, ratio):
    effect = abs(math.log(ratio))
    expected = 1.05 * math.ceil(TTestPower().solve_power(effect / sd, power=0.8, alpha=0.05))
    assert abs(pairs_to_differ(sd, effect) - math.ceil(expected)) <= 1


def test_pairs_to_match_reach_the_power_they_promise():
    rng = np.random.default_rng(2)
    delta, sd = math.log(1.1), 0.15
    n = pairs_to_match(sd, delta)
    passed = np.mean([tost(rng.normal(0, sd, size=n), delta) < 0.05 for _ in range(1500)])
    assert passed == pytest.approx(0.8, abs=4 * math.sqrt(0.16 / 1500) + 0.02)


@pytest.mark.parametrize(("family", "least"), [(1, 6), (3, 7), (5, 8), (10, 9), (20, 10)])
def test_pairs_needed_is_never_below_what_an_exact_p_value_needs(family, least):
    assert pairs_needed(1e-6, 0.1, family=family) == least_pairs(0.05, family) == least
    assert 2.0 ** (1 - least) * family < 0.05 <= 2.0 ** (2 - least) * family
