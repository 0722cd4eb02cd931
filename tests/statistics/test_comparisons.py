"""Comparisons of a method with a baseline: by hand, in families, as rows."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests
from support.result_tables import runs, simulated

from hfbench.statistics.comparisons import compare


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


def test_five_pairs_give_no_p_value_and_their_widest_interval_with_its_level():
    c = only(runs({"hf": dict.fromkeys(range(5), 100.0), "lsmr": {s: 50.0 + s for s in range(5)}}))
    assert (c.p, c.p_holm, c.p_tost) == (None, None, None)
    assert (c.ci_low, c.ci_high, c.ci_level) == (pytest.approx(0.5), pytest.approx(0.54), 0.9375)
    assert c.verdict == "inconclusive (n too small)"
    assert not c.beyond_margin, "of which only an interval at the full level may tell"
    assert c.needed >= 6
    assert c.metrics()["stat/ci_level"] == 0.9375


def test_the_level_of_a_look_may_take_more_seeds_than_95_percent():
    costs = {"hf": dict.fromkeys(range(6), 100.0), "lsmr": {s: 50.0 + s for s in range(6)}}
    assert [only(runs(costs), alpha=alpha).ci_level for alpha in (0.05, 0.0175)] == [0.95, 0.96875]


def test_one_pair_gives_no_interval():
    c = only(runs({"hf": {0: 100.0}, "lsmr": {0: 50.0}}))
    assert (c.ci_low, c.ci_high, c.ci_level) == (0.0, math.inf, 0.95)


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


def test_rows_are_plain_json_and_metrics_are_numbers():
    c = only(runs({"hf": dict.fromkeys(range(5), 100.0), "lsmr": {0: None, **{s: 90.0 + s for s in range(1, 5)}}}))
    row = json.loads(json.dumps(c.to_row(), allow_nan=False))
    assert row["ci_high"] is None
    assert row["ratio"] == c.ratio
    metrics = c.metrics()
    assert metrics["stat/ratio"] == c.ratio
    assert set(metrics) == {f"stat/{name}" for name in ("ratio", "ratio_low", "ratio_high", "ci_low", "ci_level")}
    assert all(type(value) is float for value in metrics.values())
