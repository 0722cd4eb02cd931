"""Outcomes of a sweep: the ratios of what was tested again, and the trial that is frozen."""

from __future__ import annotations

import pytest
from support.sweep_stand_ins import Bowl, sweep

from hfbench.sweep.outcome import TaskOutcome


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
