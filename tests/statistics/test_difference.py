"""The difference of two methods: ratios, budgets and runs that failed."""

import math

import numpy as np
import pytest
from support.result_tables import runs

from hfbench.statistics.comparisons import compare


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


def test_runs_that_miss_the_target_count_as_the_budget():
    hf = {0: 100.0, 1: 200.0, 2: None, 3: "failed", 4: None}
    lsmr = {0: None, 1: 300.0, 2: 100.0, 3: None, 4: "failed"}
    c = only(runs({"hf": hf, "lsmr": lsmr}), budget={"usps": 250.0})
    # d: log 2.5, log 250/200 (300 is beyond the budget), log 100/250, and two pairs nobody solved
    d = np.log([2.5, 1.25, 0.4, 1.0, 1.0])
    assert c.mean_log_ratio == pytest.approx(d.mean())
    assert c.sd == pytest.approx(d.std(ddof=1))
    assert (c.wins, c.losses, c.ties) == (1, 2, 2)
    assert (c.solved, c.solved_baseline, c.solved_both) == (1, 2, 0)


def test_without_a_budget_the_largest_amount_spent_is_one():
    records = runs({"hf": {0: 100.0, 1: None}, "lsmr": {0: 50.0, 1: 60.0}}, tau=500.0)
    assert only(records).tau == 500.0
    assert only(records, primary="products_to_target").tau == 3500.0


def test_a_method_that_fails_every_time_is_worse_not_missing():
    records = runs({"hf": {s: 100.0 + s for s in range(8)}, "bad": dict.fromkeys(range(8), "failed")})
    c = only(records, budget={"usps": 400.0})
    assert (c.n, c.solved, c.losses, c.missing) == (8, 0, 8, 0)
    assert c.verdict == "clearly worse"


@pytest.mark.parametrize("how", [None, "failed"])
def test_two_methods_that_never_reach_the_target_are_not_equivalent(how):
    c = only(runs({"hf": dict.fromkeys(range(10), how), "lsmr": dict.fromkeys(range(10), how)}))
    assert (c.ties, c.p) == (10, None)
    assert math.isnan(c.ratio), "two budgets have no ratio"
    assert c.verdict == "inconclusive"
    assert c.needed is None  # more seeds would not help


def test_equal_costs_are_equivalent_when_the_target_was_reached():
    same = {s: 100.0 + s for s in range(10)}
    c = only(runs({"hf": same, "lsmr": same}))
    assert (c.ties, c.p, c.p_tost) == (10, None, 0.0)
    assert c.verdict == "equivalent"


def test_equivalence_needs_eighty_percent_of_the_pairs_solved():
    rng = np.random.default_rng(2)
    base = {s: float(cost) for s, cost in enumerate(100 * np.exp(0.01 * rng.standard_normal(10)))}
    method = {s: float(cost) for s, cost in enumerate(100 * np.exp(0.01 * rng.standard_normal(10)))}

    def censored(count):
        hide = dict.fromkeys(range(count))
        return only(runs({"hf": base | hide, "lsmr": method | hide}))

    assert censored(2).verdict == "equivalent"
    assert censored(3).p_tost_holm < 0.05
    assert censored(3).verdict == "inconclusive"


def test_round_off_does_not_break_ties():
    base = {s: 0.1 * (s + 1) for s in range(8)}
    c = only(runs({"hf": base, "lsmr": {s: 3 * cost / 3 for s, cost in base.items()}}))
    assert c.ties == 8
