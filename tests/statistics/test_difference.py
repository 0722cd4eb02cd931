"""The difference of two methods: ratios, budgets and runs that failed."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.result_tables import runs

from hfbench.statistics.comparisons import compare
from hfbench.statistics.pairs import pair


def only(records, **options):
    (comparison,) = compare(records, "hf", **options)
    return comparison


def test_exchanging_the_roles_inverts_the_ratio():
    base = {s: 100.0 + s for s in range(10)}
    records = runs({"hf": base, "lsmr": {s: cost * (0.78 + 0.024 * s) for s, cost in base.items()}})
    forth, (back,) = only(records), compare(records, "lsmr")
    assert back.ratio == pytest.approx(1 / forth.ratio)
    assert (back.ci_low, back.ci_high) == pytest.approx((1 / forth.ci_high, 1 / forth.ci_low))
    assert (back.p, back.wins, back.rank_biserial) == (forth.p, forth.losses, -forth.rank_biserial)
    assert (forth.verdict, back.verdict) == ("better", "worse")


def test_runs_that_miss_the_target_are_tested_at_the_limit_and_bound_the_ratio():
    hf = {0: 100.0, 1: 200.0, 2: None, 3: "failed", 4: None}
    lsmr = {0: None, 1: 300.0, 2: 100.0, 3: None, 4: "failed"}
    found = pair(runs({"hf": hf, "lsmr": lsmr}, tau=251.0), "usps", "lsmr", "hf", "work_to_target", 250.0)
    # within the limit two runs tie that both missed the target; of the others it is known who was cheaper
    assert found.within.low == pytest.approx([math.log(2.51), math.log(1.5), -math.inf, 0.0, 0.0], abs=1e-12)
    assert found.within.high == pytest.approx([math.inf, math.inf, math.log(100 / 251), 0.0, 0.0], abs=1e-12)
    # of the costs: more than 251/100, than 300/200, less than 100/251; failed is never, cut off is later or never
    assert found.d.low == pytest.approx([math.log(2.51), math.log(1.5), -math.inf, -math.inf, 0.0], abs=1e-12)
    assert found.d.high == pytest.approx([math.inf, math.inf, math.log(100 / 251), 0.0, math.inf], abs=1e-12)
    c = only(runs({"hf": hf, "lsmr": lsmr}, tau=251.0), budget={"usps": 250.0})
    assert (c.wins, c.losses, c.ties, c.unknown) == (1, 2, 2, 0)
    assert (c.solved, c.solved_baseline, c.solved_both) == (1, 2, 0)
    assert (c.cut_off, c.failed, c.cut_off_baseline, c.failed_baseline) == (3, 1, 2, 1)


def test_without_a_limit_a_run_is_bounded_by_its_own_spending():
    """Two iterations ended Adam at 15 passes: it is not worse for that, whatever others spent (it was, at 400)."""
    hf, adam = {s: 60.0 + s for s in range(10)}, dict.fromkeys(range(10))
    c = only(runs({"hf": hf, "adam": adam}, tau=15.0))
    assert (c.ratio_low, c.ratio_high, c.unknown) == (pytest.approx(15 / 64.5, rel=0.05), math.inf, 10)
    assert (c.verdict, c.p) == ("inconclusive", None)
    limited = only(runs({"hf": hf, "adam": adam}, tau=15.0), budget={"usps": 400.0})  # which ended none of them
    assert (limited.verdict, limited.unknown) == ("inconclusive", 10)
    assert only(runs({"hf": hf, "adam": adam}, tau=400.0), budget={"usps": 400.0}).verdict == "clearly worse"


@given(
    st.lists(st.tuples(*[st.one_of(st.none(), st.just("failed"), st.floats(1, 300))] * 3), min_size=6, max_size=10),
    st.floats(50, 400),
    st.sampled_from([None, 200.0]),
)
@settings(max_examples=60, deadline=None)
def test_a_third_method_changes_nothing_but_through_holm(costs, spent, limit):
    hf, lsmr, slow = ({s: row[i] for s, row in enumerate(costs)} for i in range(3))
    two = runs({"hf": hf, "lsmr": lsmr}, tau=spent)
    third = runs({"slow": {s: None if cost is None else cost for s, cost in slow.items()}}, tau=100 * spent)
    alone = only(two, budget={"usps": limit})
    beside, _ = compare(pd.concat([two, third]), "hf", budget={"usps": limit}, methods=["lsmr", "slow"])
    through_holm = {"p", "p_holm", "p_tost_holm", "p_attainable", "family", "verdict", "needed"}
    rows = ({name: value for name, value in c.to_row().items() if name not in through_holm} for c in (alone, beside))
    assert next(rows) == next(rows)
    assert beside.p_attainable >= alone.p_attainable


def test_a_method_that_fails_every_time_is_worse_not_missing():
    records = runs({"hf": {s: 100.0 + s for s in range(8)}, "bad": dict.fromkeys(range(8), "failed")})
    c = only(records, budget={"usps": 400.0})
    assert (c.n, c.solved, c.losses, c.missing, c.failed) == (8, 0, 8, 0, 8)
    assert (c.verdict, c.ratio) == ("clearly worse", math.inf)
    assert only(records).verdict == "clearly worse"  # no limit is needed to say so


@pytest.mark.parametrize("how", [None, "failed"])
def test_two_methods_that_never_reach_the_target_are_not_equivalent(how):
    c = only(runs({"hf": dict.fromkeys(range(10), how), "lsmr": dict.fromkeys(range(10), how)}))
    assert (c.informative, c.p) == (0, None)
    assert math.isnan(c.ratio), "two budgets have no ratio"
    assert (c.ratio_low, c.ratio_high) == (0, math.inf)
    assert c.verdict == "inconclusive"
    assert c.needed is None  # more seeds would not help


def test_equal_costs_are_equivalent_when_the_target_was_reached():
    same = {s: 100.0 + s for s in range(10)}
    c = only(runs({"hf": same, "lsmr": same}))
    assert (c.ties, c.p, c.p_tost) == (10, None, 0.0)
    assert c.verdict == "equivalent"


def test_equivalence_takes_every_value_that_a_cut_off_pair_may_have():
    rng = np.random.default_rng(2)
    base, method = ({s: float(c) for s, c in enumerate(100 * np.exp(0.01 * rng.standard_normal(10)))} for _ in range(2))

    def censored(count, of_both=True):
        hide = dict.fromkeys(range(count))
        return only(runs({"hf": base | (hide if of_both else {}), "lsmr": method | hide}), budget={"usps": 400.0})

    assert censored(0).verdict == censored(1).verdict == "equivalent"
    assert censored(3).p_tost_holm > 0.05
    assert (censored(3).verdict, censored(3).ties) == ("inconclusive", 3)
    assert censored(3, of_both=False).verdict == "inconclusive"


def test_a_limit_that_cuts_off_the_bad_half_of_one_method_makes_it_no_better():
    """min(T, limit) is one-sided for a method whose costs spread, though its log ratio is symmetric about 0."""
    rng, better = np.random.default_rng(5), 0
    for _ in range(200):
        noisy = np.exp(0.3 * rng.standard_normal(20))
        costs = {s: float(c) if c <= 1.05 else None for s, c in enumerate(noisy)}
        c = only(runs({"hf": dict.fromkeys(range(20), 1.0), "lsmr": costs}, tau=1.05), budget={"usps": 1.05})
        better += c.differs == "better"
    assert better <= 5


def test_runs_that_never_get_there_make_nothing_equivalent():
    """Five runs below the margin's lower end that never end are no evidence that the rest is above it."""
    base = {s: 100.0 + s for s in range(20)}
    near = {s: cost * (0.90 + 0.002 * s) for s, cost in base.items()}
    failing = only(runs({"hf": base, "lsmr": near | dict.fromkeys(range(5), "failed")}))
    without = only(runs({"hf": base, "lsmr": {s: near[s] for s in range(5, 20)}}))
    assert without.verdict == "equivalent"
    assert failing.p_tost > 0.05
    assert failing.verdict != "equivalent"


def test_a_difference_may_be_sure_and_within_the_margin():
    base = {s: 100.0 + s for s in range(10)}
    c = only(runs({"hf": base, "lsmr": {s: cost * (0.96 + 0.001 * s) for s, cost in base.items()}}))
    assert (c.verdict, c.differs) == ("equivalent", "better")


def test_round_off_does_not_break_ties():
    base = {s: 0.1 * (s + 1) for s in range(8)}
    c = only(runs({"hf": base, "lsmr": {s: 3 * cost / 3 for s, cost in base.items()}}))
    assert c.ties == 8
