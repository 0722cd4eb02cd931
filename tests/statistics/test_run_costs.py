"""What is known of the cost of a run, however it ended."""

import math

import pandas as pd
import pytest

from hfbench.errors import ConfigError
from hfbench.statistics.run_costs import RunCost, costs_by_seed

ROWS = {
    0: ("reached", 100.0, 100.0),
    1: ("budget", 250.0, None),
    2: ("diverged", 90.0, None),
    3: ("failed", None, None),
    4: ("reached", 300.0, 300.0),  # beyond the limit of 200
    5: ("diverged", 400.0, 120.0),  # after it had met the target
    6: ("budget", 500.0, 260.0),  # met the target beyond the limit and went on
    7: ("reached", None, None),  # a method that has no such cost
}


def found(limit: float = math.inf) -> dict[int, RunCost]:
    rows = [
        {"task": "usps", "method": "hf", "seed": seed, "outcome": outcome, "work": spent, "work_to_target": cost}
        for seed, (outcome, spent, cost) in ROWS.items()
    ]
    return costs_by_seed(pd.DataFrame(rows), "work_to_target", limit)


def test_a_run_is_bounded_by_its_own_spending_alone() -> None:
    inf = math.inf
    assert found() == {
        0: RunCost(100, 100, "reached"), 1: RunCost(250, inf, "cut off"), 2: RunCost(inf, inf, "diverged"),
        3: RunCost(inf, inf, "failed"), 4: RunCost(300, 300, "reached"), 5: RunCost(120, 120, "reached"),
        6: RunCost(260, 260, "reached"), 7: RunCost(0, inf, "cut off"),
    }  # fmt: skip


def test_within_a_limit_what_its_method_ended_counts_as_the_limit() -> None:
    within = {seed: cost.within(200.0) for seed, cost in found(200.0).items()}
    assert {seed: (cost.low, cost.high) for seed, cost in within.items()} == {
        0: (100, 100), 1: (200, 200), 2: (200, 200), 3: (200, 200), 4: (200, 200), 5: (120, 120), 6: (200, 200),
        7: (0, 200),
    }  # fmt: skip
    assert found(200.0)[6] == RunCost(260, math.inf, "cut off")  # not the 500 that it spent


def test_a_cost_that_is_not_positive_is_named() -> None:
    row = {"task": "usps", "method": "hf", "seed": 3, "outcome": "reached", "work": 0.0, "work_to_target": 0.0}
    with pytest.raises(ConfigError, match="must be positive to form ratios, but got 0 .hf on usps, seed 3"):
        costs_by_seed(pd.DataFrame([row]), "work_to_target")
