"""What the tuning of several methods took and gave, as rows."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

from support.sweep_stand_ins import sweep

from hfbench.sweep.equal_tuning import cost_caption, cost_row, outcomes_by_task
from hfbench.sweep.outcome import TaskOutcome
from hfbench.sweep.retest import Candidate, Winner
from hfbench.sweep.trials import COMPLETE, FAILED, PRUNED, Trial


def measured(*costs: float) -> dict[int, dict[str, float]]:
    return {seed: {"work_to_target": cost, "passes": cost, "seconds": 30.0} for seed, cost in enumerate(costs)}


def outcome(winner: int | None, method: str = "adam", task: str = "usps") -> TaskOutcome:
    trials = {
        0: Trial(0, 0, {}, COMPLETE, "", "", measured(100.0, 100.0)),
        1: Trial(1, 1, {}, PRUNED, "", "", measured(90.0)),
        2: Trial(2, 2, {}, FAILED, "", "", {}, "boom"),
        3: Trial(3, 3, {}, COMPLETE, "", "", measured(50.0, 50.0)),
    }
    again = {0: measured(80.0, 20.0), 3: measured(20.0, 20.0)}
    of: Any = SimpleNamespace(method=SimpleNamespace(name=method), name=task, sweep=sweep())
    tested = [Candidate(3, {}, math.log(0.4), math.log(0.5), 0.0)]
    return TaskOutcome(of, trials, None if winner is None else Winner(winner, {}, tested), again)


def test_a_row_has_what_it_took_and_what_it_gave_on_fresh_seeds() -> None:
    assert cost_row(outcome(3)) == ("adam", "2/1/1", "390", "140", "4.5 min", "40.00", "20.00", "0.50x", "+25 %")


def test_a_method_that_is_kept_has_no_ratio() -> None:
    assert cost_row(outcome(0))[5:] == ("40.00", "kept", "–", "+25 %")


def test_with_several_objectives_nothing_was_given() -> None:
    assert cost_row(outcome(None))[5:] == ("–", "–", "–", "–")


def test_rows_are_grouped_by_task() -> None:
    swept = [outcome(3, "adam", "usps"), outcome(3, "adam", "mnist"), outcome(0, "shf", "usps")]
    groups = {task: [each.task.method.name for each in group] for task, group in outcomes_by_task(swept).items()}
    assert groups == {"usps": ["adam", "shf"], "mnist": ["adam"]}
    assert "work to target (passes), geometric mean over the fresh seeds" in cost_caption(swept[0])
