"""What is computed but not tested: across tasks, and by other measures."""

import math

import numpy as np
import pandas as pd
import pytest
from support.result_tables import runs, simulated

from hfbench.statistics.comparisons import compare
from hfbench.statistics.exploratory import across_tasks, secondary
from hfbench.statistics.pairs import pair


def test_across_tasks_needs_six_and_counts_each_task_once():
    rng = np.random.default_rng(6)
    tables = [simulated(0.8, 0.05, 5, rng, task=f"t{i}") for i in range(6)]
    family = [pair(table, f"t{i}", "lsmr", "hf", "work_to_target") for i, table in enumerate(tables)]
    assert across_tasks(family[:5], 0.05) is None
    comparisons = compare(pd.concat(tables), "hf")
    (overall,) = across_tasks(family, 0.05)
    assert (overall.tasks, overall.p, overall.p_holm) == (6, 2 / 64, 2 / 64)
    means = [c.mean_log_ratio for c in comparisons]
    assert math.exp(min(means)) <= overall.ratio <= math.exp(max(means))
    assert overall.verdict == "better"
    assert overall.to_row()["tasks"] == 6


def test_one_run_that_never_gets_there_makes_no_task():
    """Nine of ten seeds are dearer on every task; the baseline fails in the tenth."""
    base = {s: 100.0 + s for s in range(10)}
    tables = [runs({"hf": base | {0: "failed"}, "lsmr": {s: 1.5 * c for s, c in base.items()}}) for _ in range(6)]
    family = [pair(table, "usps", "lsmr", "hf", "work_to_target") for table in tables]
    (overall,) = across_tasks(family, 0.05)
    assert (overall.verdict, overall.ratio) == ("worse", pytest.approx(1.5))


def test_secondary_measures_have_intervals_and_no_p_value():
    hf = {s: 100.0 + s for s in range(8)}
    records = runs({"hf": hf, "lsmr": {**{s: 80.0 + s for s in range(7)}, 7: "failed"}})
    found = {one.measure: one for one in secondary(records, "hf")}
    assert set(found) == {"products_to_target", "seconds_to_target", "distinct_to_target", "final_test_error"}
    assert found["products_to_target"].n == 8
    assert found["products_to_target"].ratio < 1
    error = found["final_test_error"]
    assert (error.n, error.ratio, error.ci_high) == (8, 1.0, math.inf)  # the one that failed is the worst there can be
    row = found["seconds_to_target"].to_row()
    assert row["label"] == "exploratory"
    assert not any(name.startswith("p") for name in row)


def test_few_seeds_have_intervals_at_a_level_of_their_own():
    records = runs({"hf": dict.fromkeys(range(3), 100.0), "lsmr": {s: 80.0 + s for s in range(3)}})
    found = {one.measure: one for one in secondary(records, "hf")}
    products = found["products_to_target"]
    assert (products.ci_low, products.ci_high, products.ci_level) == (pytest.approx(0.8), pytest.approx(0.82), 0.75)
    assert products.to_row()["ci_level"] == 0.75


def test_six_tasks_are_too_few_for_the_share_of_a_look():
    rng = np.random.default_rng(6)
    tables = [simulated(0.8, 0.05, 5, rng, task=f"t{i}") for i in range(6)]
    family = [pair(table, f"t{i}", "lsmr", "hf", "work_to_target") for i, table in enumerate(tables)]
    (overall,) = across_tasks(family, 0.0175)
    assert (overall.ci_level, 0 < overall.ci_low < overall.ci_high < math.inf) == (1 - 2 / 64, True)


def test_peak_memory_is_a_secondary_measure_that_no_budget_censors():
    records = runs({"hf": dict.fromkeys(range(8), 100.0), "lsmr": {**dict.fromkeys(range(7)), 7: "failed"}})
    peak = np.where(records["method"] == "lsmr", 300e6, 400e6) + 1e6 * records["seed"]
    found = secondary(records.assign(peak_memory=peak.mask(records["outcome"] == "failed")), "hf")
    (memory,) = (one for one in found if one.measure == "peak_memory")
    assert memory.n == 8
    assert memory.ratio_low == pytest.approx(0.75, abs=0.005)
    assert memory.ratio_low < memory.ratio_high == memory.ratio < 0.76
    assert (memory.ci_low, memory.ci_high) == (0, math.inf)  # the run that failed told nothing: it may be anything


def test_across_tasks_refuses_a_p_value_that_six_tasks_cannot_reach():
    rng = np.random.default_rng(8)
    tables = [simulated(0.5, 0.05, 6, rng, method=m, task=f"t{i}") for i in range(6) for m in ("lsmr", "lsqr")]
    found = across_tasks(
        [pair(table, table["task"][0], table["method"].iloc[-1], "hf", "work_to_target") for table in tables], 0.05
    )
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
