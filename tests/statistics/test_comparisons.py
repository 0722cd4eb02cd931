"""Comparisons of a method with a baseline: pairing, censoring, and the verdict rule."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests
from support.result_tables import runs, simulated

from hfbench.errors import ConfigError
from hfbench.statistics.comparisons import compare
from hfbench.statistics.exploratory import across_tasks, secondary


def only(records, **options):
    (comparison,) = compare(records, "hf", **options)
    return comparison


def test_a_clear_win_by_hand():
    base = {s: 100.0 + s for s in range(8)}
    c = only(runs({"hf": base, "lsmr": {s: cost / 2 for s, cost in base.items()}}))
    assert (c.n, c.wins, c.losses, c.ties, c.solved, c.solved_baseline, c.solved_both) == (8, 8, 0, 0, 8, 8, 8)
    assert (c.ratio, c.ci_low, c.ci_high) == pytest.approx((0.5, 0.5, 0.5))
    assert c.p == c.p_holm == 2 / 2**8
    assert c.rank_biserial == 1.0
    assert c.sd == pytest.approx(0, abs=1e-12)
    assert c.mean_log_ratio == pytest.approx(math.log(0.5))
    assert c.verdict == "clearly better"
    assert c.needed is None


def test_exchanging_the_roles_inverts_the_ratio():
    base = {s: 100.0 + s for s in range(10)}
    records = runs({"hf": base, "lsmr": {s: cost * (0.78 + 0.024 * s) for s, cost in base.items()}})
    forth, (back,) = only(records), compare(records, "lsmr")
    assert back.ratio == pytest.approx(1 / forth.ratio)
    assert (back.ci_low, back.ci_high) == pytest.approx((1 / forth.ci_high, 1 / forth.ci_low))
    assert (back.p, back.wins, back.rank_biserial) == (forth.p, forth.losses, -forth.rank_biserial)
    assert (forth.verdict, back.verdict) == ("better", "worse")


def test_pairs_are_formed_by_seed_whatever_the_order_of_rows():
    records = simulated(0.9, 0.05, 9, np.random.default_rng(1))
    shuffled = records.sample(frac=1, random_state=3)
    assert only(shuffled) == only(records)
    base = {0: 100.0, 1: 200.0, 2: 400.0}
    crossed = only(runs({"hf": base, "lsmr": {2: 400.0, 0: 100.0, 1: 200.0}}))
    assert crossed.ties == 3


def test_a_seed_run_for_one_method_only_is_left_out_and_counted():
    base = {s: 100.0 + s for s in range(8)}
    method = {s: 50.0 + s for s in range(1, 10)}
    c = only(runs({"hf": base, "lsmr": method}))
    full = only(runs({"hf": {s: base[s] for s in range(1, 8)}, "lsmr": {s: method[s] for s in range(1, 8)}}))
    assert (c.n, c.missing, c.ratio) == (7, 3, full.ratio)


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


def test_equivalent_comes_before_better():
    base = {s: 100.0 + s for s in range(10)}
    c = only(runs({"hf": base, "lsmr": {s: cost * (0.97 + 0.001 * s) for s, cost in base.items()}}))
    assert c.p_holm < 0.05
    assert c.ci_high < 1
    assert c.verdict == "equivalent"


def test_five_pairs_give_no_p_value_and_no_bound():
    c = only(simulated(0.5, 0.05, 5, np.random.default_rng(3)))
    assert (c.p, c.p_holm, c.p_tost) == (None, None, None)
    assert (c.ci_low, c.ci_high) == (0.0, math.inf)
    assert c.verdict == "inconclusive (n too small)"
    assert c.needed >= 6


def test_the_family_is_every_task_and_method():
    rng = np.random.default_rng(4)
    tables = []
    for task in ("curves", "usps"):
        tables.append(simulated(0.9, 0.1, 9, rng, task=task))
        other = simulated(1.05, 0.1, 9, rng, method="lsqr", task=task)
        tables.append(other[other["method"] == "lsqr"])
    found = compare(pd.concat(tables), "hf", methods=["lsqr", "hf", "lsmr"])
    assert [(c.task, c.method) for c in found] == [
        ("curves", "lsqr"), ("curves", "lsmr"), ("usps", "lsqr"), ("usps", "lsmr"),
    ]  # fmt: skip
    assert {c.family for c in found} == {4}
    for raw, adjusted in (("p", "p_holm"), ("p_tost", "p_tost_holm")):
        expected = multipletests([getattr(c, raw) for c in found], method="holm")[1]
        assert [getattr(c, adjusted) for c in found] == pytest.approx(expected.tolist())


def test_round_off_does_not_break_ties():
    base = {s: 0.1 * (s + 1) for s in range(8)}
    c = only(runs({"hf": base, "lsmr": {s: 3 * cost / 3 for s, cost in base.items()}}))
    assert c.ties == 8


def test_rows_are_plain_json_and_metrics_are_numbers():
    c = only(simulated(0.8, 0.1, 5, np.random.default_rng(5)))
    row = json.loads(json.dumps(c.to_row(), allow_nan=False))
    assert row["ci_high"] is None
    assert row["ratio"] == c.ratio
    metrics = c.metrics()
    assert metrics["stat/ratio"] == c.ratio
    assert metrics["stat/n"] == 5.0
    assert "stat/ci_high" not in metrics
    assert all(type(value) is float for value in metrics.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"primary": "work_to_targe"}, "did you mean 'work_to_target'"),
        ({"margin": 1.0}, "margin > 1"),
        ({"alpha": 0.0}, "0 < alpha < 1"),
        ({"methods": ["lsrm"]}, "did you mean 'lsmr'"),
        ({"tasks": ["mnist"]}, "there are: usps"),
        ({"baseline": "fh"}, "did you mean 'hf'"),
    ],
)
def test_bad_input_is_named(options, message):
    records = runs({"hf": {0: 1.0}, "lsmr": {0: 2.0}})
    with pytest.raises(ConfigError, match=message):
        compare(records, **{"baseline": "hf", **options})


def test_bad_tables_are_named():
    records = runs({"hf": {0: 1.0}, "lsmr": {0: 2.0}})
    with pytest.raises(ConfigError, match="more than once"):
        compare(pd.concat([records, records]), "hf")
    with pytest.raises(ConfigError, match="lacks work_to_target"):
        compare(records.drop(columns="work_to_target"), "hf")
    with pytest.raises(ConfigError, match="must be positive"):
        compare(runs({"hf": {0: 0.0}, "lsmr": {0: 2.0}}), "hf")


def test_across_tasks_needs_six_and_counts_each_task_once():
    rng = np.random.default_rng(6)
    tables = [simulated(0.8, 0.05, 5, rng, task=f"t{i}") for i in range(6)]
    assert across_tasks(compare(pd.concat(tables[:5]), "hf")) is None
    comparisons = compare(pd.concat(tables), "hf")
    (overall,) = across_tasks(comparisons)
    assert (overall.tasks, overall.p, overall.p_holm) == (6, 2 / 64, 2 / 64)
    means = [c.mean_log_ratio for c in comparisons]
    assert math.exp(min(means)) <= overall.ratio <= math.exp(max(means))
    assert overall.verdict == "better"
    assert overall.to_row()["tasks"] == 6


def test_secondary_measures_have_intervals_and_no_p_value():
    hf = {s: 100.0 + s for s in range(8)}
    records = runs({"hf": hf, "lsmr": {**{s: 80.0 + s for s in range(7)}, 7: "failed"}})
    found = {one.measure: one for one in secondary(records, "hf")}
    assert set(found) == {"products_to_target", "seconds_to_target", "distinct_to_target", "final_test_error"}
    assert found["products_to_target"].n == 8
    assert found["products_to_target"].ratio < 1
    assert (found["final_test_error"].n, found["final_test_error"].ratio) == (7, 1.0)
    row = found["seconds_to_target"].to_row()
    assert row["label"] == "exploratory"
    assert not any(name.startswith("p") for name in row)


def test_peak_memory_is_a_secondary_measure_that_no_budget_censors():
    records = runs({"hf": dict.fromkeys(range(8), 100.0), "lsmr": {**dict.fromkeys(range(7)), 7: "failed"}})
    peak = np.where(records["method"] == "lsmr", 300e6, 400e6) + 1e6 * records["seed"]
    found = secondary(records.assign(peak_memory=peak.mask(records["outcome"] == "failed")), "hf")
    (memory,) = (one for one in found if one.measure == "peak_memory")
    assert memory.n == 7  # without the run that failed and told nothing
    assert memory.ratio == pytest.approx(0.75, abs=0.005)
    assert memory.ci_low < memory.ratio < memory.ci_high


def test_across_tasks_refuses_a_p_value_that_six_tasks_cannot_reach():
    rng = np.random.default_rng(8)
    tables = [simulated(0.5, 0.05, 6, rng, method=m, task=f"t{i}") for i in range(6) for m in ("lsmr", "lsqr")]
    found = across_tasks(compare(pd.concat(tables).drop_duplicates(["task", "method", "seed"]), "hf"))
    assert [(one.tasks, one.p, one.p_holm, one.least_tasks) for one in found] == [(6, None, None, 7)] * 2
    assert {(one.p_attainable, one.verdict) for one in found} == {(2 * 2 / 64, "inconclusive (too few tasks)")}


def test_a_cost_that_a_method_does_not_have_is_left_out_for_it():
    """A first-order method has no products: that is another thing than never reaching the target."""
    records = runs({name: {s: 100.0 + s for s in range(8)} for name in ("hf", "lsmr", "adam")})
    products = ["products", "products_to_target"]
    records.loc[records["method"] == "adam", products] = None
    found = {(one.method, one.measure) for one in secondary(records, "hf")}
    assert ("lsmr", "products_to_target") in found
    assert ("adam", "products_to_target") not in found
    assert ("adam", "seconds_to_target") in found
    assert not any(one.measure == "products_to_target" for one in secondary(records, "adam"))

    free = records.assign(products_to_target=records["products_to_target"].mask(records["seed"] == 3, 0.0))
    assert not any(one.measure == "products_to_target" for one in secondary(free, "hf"))
