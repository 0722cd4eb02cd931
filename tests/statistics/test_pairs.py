"""Pairs of runs by seed, what they are measured by, and tables that are refused."""

import numpy as np
import pandas as pd
import pytest
from support.result_tables import runs, simulated

from hfbench.errors import ConfigError
from hfbench.statistics.comparisons import compare
from hfbench.statistics.pairs import measured, pair


@pytest.mark.parametrize("measure", ["final_test_error", "final_validation_error"])
def test_a_measure_of_the_end_counts_divergence_as_the_worst_error(measure: str) -> None:
    table = pd.DataFrame(
        {
            "task": "usps",
            "method": ["hf", "hf", "hf", "shf", "shf", "shf"],
            "seed": [0, 1, 2] * 2,
            "outcome": ["budget", "budget", "reached", "diverged", "reached", "reached"],
            measure: [10.0, 8.0, 6.0, 0.5, 4.0, 6.0],
        }
    )
    found = measured(table, "usps", "shf", "hf", measure)
    assert list(found.d.low) == pytest.approx([np.inf, np.log(0.5), 0.0], abs=1e-12)
    assert found.d.complete
    assert found.ended == ("diverged", "reached", "reached")


def test_test_errors_at_the_target_are_paired_where_both_runs_reached_it() -> None:
    table = pd.DataFrame(
        {"task": "usps", "method": ["hf"] * 3 + ["shf"] * 3, "seed": [0, 1, 2] * 2,
         "outcome": ["reached", "reached", "budget", "reached", "diverged", "reached"],
         "test_error_at_target": [8.0, 8.0, None, 4.0, None, 2.0]}
    )  # fmt: skip
    found = measured(table, "usps", "shf", "hf", "test_error_at_target")
    assert list(found.d.low) == list(found.d.high) == [pytest.approx(np.log(0.5))]


@pytest.mark.parametrize(("resolution", "least"), [([0.5] * 6, 0.5), ([None] * 5 + [0.25], 0.25), ([None] * 6, 1.0)])
def test_an_error_of_zero_lies_below_the_resolution_and_two_tie(resolution: list[float | None], least: float) -> None:
    """Without a recorded resolution it is at most the smallest error above 0 of the two methods' runs."""
    table = pd.DataFrame(
        {"task": "usps", "method": ["hf"] * 3 + ["shf"] * 3, "seed": [0, 1, 2] * 2, "outcome": "reached",
         "final_test_error": [1.0, 0.0, 0.0, 0.0, 0.0, 2.0], "test_resolution": resolution}
    )  # fmt: skip
    found = measured(table, "usps", "shf", "hf", "final_test_error")
    assert list(found.d.low) == pytest.approx([-np.inf, 0.0, np.log(2.0 / least)], abs=1e-12)
    assert list(found.d.high) == pytest.approx([np.log(least), 0.0, np.inf], abs=1e-12)
    assert list(found.within.high) == list(found.d.high)
    assert found.ended == ("reached",) * 3


def test_an_error_below_the_resolution_bounds_a_zero_too() -> None:
    table = pd.DataFrame(
        {"task": "usps", "method": ["hf", "shf"], "seed": [0, 0], "outcome": "budget",
         "final_test_error": [0.1, 0.0], "test_resolution": 0.5}
    )  # fmt: skip
    found = measured(table, "usps", "shf", "hf", "final_test_error")
    assert (list(found.d.low), list(found.d.high)) == ([-np.inf], [0.0])


def test_errors_that_are_all_zero_tie_and_a_failed_run_is_no_zero() -> None:
    table = pd.DataFrame(
        {"task": "usps", "method": ["hf"] * 2 + ["shf"] * 2, "seed": [0, 1] * 2,
         "outcome": ["budget", "budget", "budget", "failed"], "final_test_error": [0.0, 0.0, 0.0, None]}
    )  # fmt: skip
    found = measured(table, "usps", "shf", "hf", "final_test_error")
    assert (list(found.d.low), list(found.d.high)) == ([0.0, np.inf], [0.0, np.inf])
    memory = measured(table.assign(peak_memory=[0.0, 0.0, 0.0, None]), "usps", "shf", "hf", "peak_memory")
    assert (list(memory.d.low), list(memory.d.high)) == ([0.0, 0.0], [0.0, np.inf])


def test_a_failed_run_has_no_memory_that_could_be_compared() -> None:
    table = pd.DataFrame(
        {"task": "usps", "method": ["hf", "hf", "shf", "shf"], "seed": [0, 1] * 2,
         "outcome": ["budget", "failed", "failed", "reached"], "peak_memory": [10.0, None, None, 4.0]}
    )  # fmt: skip
    found = measured(table, "usps", "shf", "hf", "peak_memory")
    assert (list(found.d.low), list(found.d.high)) == ([-np.inf] * 2, [np.inf] * 2)


def test_a_run_without_its_pair_is_left_out_and_counted() -> None:
    table = pd.DataFrame(
        {"task": "usps", "method": ["hf", "hf", "shf"], "seed": [0, 1, 1], "outcome": "budget",
         "peak_memory": [10.0, 8.0, 4.0]}
    )  # fmt: skip
    found = measured(table, "usps", "shf", "hf", "peak_memory")
    assert (list(found.d.low), found.missing) == ([round(np.log(0.5), 12)], 1)


def only(records, **options):
    (comparison,) = compare(records, "hf", **options)
    return comparison


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
    with pytest.raises(ConfigError, match="reached, budget, diverged, failed, but got crashed"):
        compare(records.assign(outcome="crashed"), "hf")
    with pytest.raises(ConfigError, match="more than once"):
        compare(pd.concat([records, records]), "hf")
    with pytest.raises(ConfigError, match="lacks work_to_target"):
        compare(records.drop(columns="work_to_target"), "hf")
    with pytest.raises(ConfigError, match="must be positive"):
        compare(runs({"hf": {0: 0.0}, "lsmr": {0: 2.0}}), "hf")


def test_seconds_of_other_hardware_are_never_joined() -> None:
    rows = [
        {"task": "t", "method": method, "seed": seed, "outcome": "reached", "seconds": 2.0, "work": 2.0,
         "seconds_to_target": (1.0 if method == "a" else 2.0) * (10 if seed > 6 else 1), "work_to_target": 1.0,
         "hardware": "slow" if seed > 6 or (method, seed) == ("b", 0) else "fast"}
        for method in "ab" for seed in range(9)
    ]  # fmt: skip
    records = pd.DataFrame(rows)
    seconds, work = (pair(records, "t", "b", "a", cost) for cost in ("seconds_to_target", "work_to_target"))
    assert len(work.d) == 9
    assert len(seconds.d) == 6  # seeds 1 to 6; seed 0 was made by one of the two only on the faster
    assert seconds.missing == 1
    assert set(np.round(np.exp(seconds.d.low), 9)) == {2.0}
    earlier = pair(records.drop(columns="hardware"), "t", "b", "a", "seconds_to_target")
    assert len(earlier.d) == 9
