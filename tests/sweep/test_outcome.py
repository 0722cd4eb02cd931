"""Outcomes of a sweep: the ratios of what was tested again, and the trial that is frozen."""

from __future__ import annotations

import pytest
from support.sweep_stand_ins import Bowl, sweep

from hfbench.sweep.outcome import TaskOutcome
from hfbench.sweep.trials import COMPLETE, FAILED, PRUNED, Trial


def costs(*values: float) -> dict[int, dict[str, float]]:
    return {2000 + seed: {"work_to_target": cost, "distinct_to_target": 1.0} for seed, cost in enumerate(values)}


def test_trials_tested_again_have_ratios_to_the_first_one_by_one_objective() -> None:
    again = {0: costs(10.0, 20.0), 3: costs(5.0, 40.0), 7: costs(5.0, 5.0), 9: {}}
    task = Bowl(sweep(objectives=("work_to_target", "distinct_to_target")))
    outcome = TaskOutcome(task, {}, None, again)  # type: ignore[arg-type]
    assert outcome.index == -1
    assert outcome.retested() == {
        3: (pytest.approx(1.0), pytest.approx(1.0)),
        7: (pytest.approx((0.5 * 0.25) ** 0.5), pytest.approx(1.0)),
    }


def trial(index: int, state: str, *costs: float) -> Trial:
    measures = {
        1000 + seed: {"work_to_target": cost, "passes": 2 * cost, "seconds": 1.0} for seed, cost in enumerate(costs)
    }
    return Trial(index, index, {}, state, "here", "", measures, "boom" if state == FAILED else "")


def test_the_best_so_far_is_of_complete_trials_against_what_all_have_taken() -> None:
    trials = [
        trial(0, COMPLETE, 10.0, 40.0), trial(1, PRUNED, 1.0), trial(2, FAILED), trial(3, COMPLETE, 50.0, 50.0),
        trial(4, COMPLETE, 4.0, 9.0),
    ]  # fmt: skip
    again = {0: {2000: {"work_to_target": 8.0, "passes": 16.0, "seconds": 3.0}}}
    outcome = TaskOutcome(Bowl(sweep()), {each.index: each for each in trials}, None, again)  # type: ignore[arg-type]
    expected = [(100.0, 20.0), (102.0, 20.0), (102.0, 20.0), (302.0, 20.0), (328.0, 6.0)]
    assert outcome.best_so_far() == [pytest.approx(point) for point in expected]
    assert (outcome.taken("passes"), outcome.taken("passes", again=True)) == (328.0, 16.0)
    assert (outcome.taken("seconds"), outcome.taken("seconds", again=True)) == (7.0, 3.0)
    assert outcome.objective_again(0) == pytest.approx(8.0)
