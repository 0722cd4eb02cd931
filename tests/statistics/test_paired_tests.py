"""Paired tests against SciPy, statsmodels, enumeration and simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from hfbench.statistics.bounds import Bounds
from hfbench.statistics.paired_tests import (
    hodges_lehmann,
    hodges_lehmann_bounds,
    holm,
    rank_biserial,
    rank_sum_null,
    signed_rank_below,
    signed_ranks,
    tails,
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
    st.lists(st.integers(-3, 3), min_size=2, max_size=8),
    st.lists(st.booleans(), min_size=8, max_size=8),
    st.lists(st.sampled_from([-9, -3, -2, -1, 0, 1, 2, 3, 9]), min_size=8, max_size=8),
)
@settings(max_examples=300, deadline=None)
def test_a_bounded_p_is_never_below_the_one_of_any_d_within(values, unknown, guesses):
    """With ties and zeros, among the known d and what the unknown ones may be."""
    d = np.array(values, dtype=float)
    of = np.array(unknown[: d.size])
    guess = np.where(of, np.array(guesses[: d.size], dtype=float), d)
    anywhere = Bounds(np.where(of, -math.inf, d), np.where(of, math.inf, d))
    above = Bounds(np.where(of, guess - 0.5, d), np.where(of, math.inf, d))
    for bounds in (anywhere, above):
        assert wilcoxon_bounded(bounds) >= wilcoxon_pratt(guess) - 1e-12
        assert signed_rank_below(bounds) >= tails(guess)[0] - 1e-12
        assert signed_rank_below(-bounds) >= tails(guess)[1] - 1e-12
    assert wilcoxon_bounded(Bounds.of(d)) == wilcoxon_pratt(d)


def test_a_bounded_p_with_ties_is_not_that_of_the_upper_ends():
    """The upper ends, as different numbers beyond all others, give .031; ties that d may have give .055 (or more)."""
    d = np.array([-1.0, -1, -1, -1, -1, -1, -1, 1])
    unknown = np.arange(8) == 7
    bounds = Bounds(np.where(unknown, -math.inf, d), np.where(unknown, math.inf, d))
    untied = np.where(unknown, 9.0, d)
    assert wilcoxon_bounded(bounds) >= wilcoxon_pratt(d) > 0.05
    assert wilcoxon_pratt(untied) > wilcoxon_pratt(d)  # here the end is the worst; the bound holds either way
    assert wilcoxon_bounded(bounds) >= wilcoxon_pratt(untied)


def test_infinite_d_are_known_and_share_a_rank():
    d = np.array([math.inf, math.inf, -1.0, 2, 3, 4, -math.inf])
    finite = np.array([9.0, 9, -1, 2, 3, 4, -9])
    assert wilcoxon_bounded(Bounds.of(d)) == wilcoxon_pratt(finite)


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


@given(
    st.lists(st.integers(-5, 5), min_size=6, max_size=9),
    st.lists(st.sampled_from(["known", "above", "below", "open"]), min_size=9, max_size=9),
    st.lists(st.integers(0, 12), min_size=9, max_size=9),
)
@settings(max_examples=100, deadline=None)
def test_bounds_of_the_interval_hold_the_intervals_of_all_d_within(values, kinds, distances):
    d, kind, by = np.array(values, dtype=float), np.array(kinds[: len(values)]), np.array(distances[: len(values)])
    up, down = np.isin(kind, ["above", "open"]), np.isin(kind, ["below", "open"])
    found = hodges_lehmann_bounds(Bounds(np.where(down, -math.inf, d), np.where(up, math.inf, d)))
    centre, low, high = hodges_lehmann(d + by * up - by * (kind == "below"))
    assert found.centre_low <= centre <= found.centre_high
    assert found.low <= low <= high <= found.high


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


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
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
