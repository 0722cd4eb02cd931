"""Signatures of failures on rows made up for them."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from hfbench.diagnosis.run_trace import Run
from hfbench.diagnosis.signatures import OF_ALL, OF_STEPS, findings


def made_up(iterations: int = 30, **columns: Any) -> Run:
    rows: dict[str, Any] = {
        "stop_reason": ["relative_progress"] * iterations, "inner_iterations": 20, "chosen_iterate": 20,
        "damping": 1.0, "rho": 0.6, "step_length": 1.0, "batch_gradient": 200, "variance_l1": math.nan,
        "gradient_norm": 1.0, "validation_error": [2.0 / (1 + i) for i in range(iterations)],
        "train_objective_batch": [1.0 / (1 + i) for i in range(iterations)], "peak_memory": 2e8,
        "distinct_cases": 200,
    } | columns  # fmt: skip
    method = {"optimizer": None, "max_inner": 250, "preconditioner": {"use": "martens"}, "globalization": {}}
    method["globalization"] = {"min_damping": 1e-10}
    frame = pd.DataFrame(rows, index=range(iterations))
    return Run("m/t/s0", method, {"outcome": "reached", "distinct": 1.0}, frame)


def test_rows_without_fault_show_nothing_and_short_runs_are_not_judged() -> None:
    assert findings(made_up()) == []
    assert findings(made_up(4, step_length=0.0)) == []
    assert len(OF_STEPS) + len(OF_ALL) == 10


def test_lambda_that_runs_away_is_recognised() -> None:
    (found,) = findings(made_up(damping=[1.5**i for i in range(30)]))
    assert found.signature == "lambda runs away"
    assert found.evidence.startswith("lambda rose from 1 to ")


FALLS = [45.0 * (2 / 3) ** min(i, 12) for i in range(30)]  # lambda over steps of which the first 12 have a high rho
RISES = [0.01 * 1.5 ** min(i, 5) for i in range(30)]


def test_lambda_that_starts_far_off_is_recognised_with_the_value_to_start_from() -> None:
    (found,) = findings(made_up(damping=FALLS, rho=[0.98] * 12 + [0.6] * 18))
    assert found.signature == "lambda starts far off"
    assert found.evidence == ("lambda = 45 fell in each of the first 12 of 30 steps, to 0.347; the first rho was 0.98.")
    assert found.remedy.startswith("globalization.initial_damping = 2, or what brings the first rho between 0.25 and")
    (found,) = findings(made_up(damping=RISES, rho=[-math.inf, 0.1, 0.0, 0.2, 0.1] + [0.6] * 25))
    assert found.evidence == "lambda = 0.01 rose in each of the first 5 of 30 steps, to 0.0759; the first rho was -inf."
    assert found.remedy.startswith("globalization.initial_damping = 0.08, ")


@pytest.mark.parametrize(
    ("damping", "rho"),
    [
        (FALLS, [0.8] * 12 + [0.6] * 18),  # a first rho just above its range: training lowers lambda
        (FALLS, [0.6] + [1.0] * 29),  # the first step is as it should be
        ([45.0 * (2 / 3) ** min(i, 3) for i in range(30)], [0.98] * 3 + [0.6] * 27),  # it takes three steps
        ([45.0 * (2 / 3) ** min(i, 12) for i in range(200)], [0.98] * 12 + [0.6] * 188),  # of two hundred
        (45.0, [0.98] * 30),  # it may not change
    ],
)
def test_lambda_that_starts_near_enough_is_not(damping: Any, rho: list[float]) -> None:
    assert findings(made_up(len(rho), damping=damping, rho=rho)) == []


@pytest.mark.parametrize(
    ("columns", "signature"),
    [
        ({"validation_error": [1.0] * 10 + [0.5] + [0.52] * 19}, None),  # 4 % is no turn
        ({"validation_error": [1.0] * 10 + [0.5] + [0.9] * 19, "train_objective_batch": 1.0}, None),  # nothing fell
        ({"validation_error": [1.0] * 10 + [0.5] + [0.9] * 19}, "overfitting"),
        ({"peak_memory": [2e8 + 5e6 * i for i in range(30)]}, "growing memory"),
        (
            {"peak_memory": [2e8 + 5e6 * i for i in range(30)], "batch_gradient": range(100, 130)},
            None,
        ),  # with the batch
        ({"step_length": [0.0, 1.0, 1.0] * 10}, "line search rejects steps"),
        ({"step_length": [0.0] + [1.0] * 29}, None),
        ({"rho": [math.nan] * 30}, None),
        ({"damping": 1e-10}, "lambda at its bound"),
    ],
)
def test_thresholds(columns: dict[str, Any], signature: str | None) -> None:
    assert [one.signature for one in findings(made_up(**columns))] == ([signature] if signature else [])


@pytest.mark.parametrize("outcome", ["failed", "diverged"])
def test_an_error_is_shown_in_its_beginning_and_without_signs_for_a_terminal(outcome: str) -> None:
    run = made_up()
    broken = Run(run.name, run.method, {"outcome": outcome, "error": "\x1b]52;c;bmV3\x07" + "x" * 9000}, run.rows)
    (found,) = findings(broken)
    assert len(found.evidence) == 1000
    assert found.evidence.isprintable()
