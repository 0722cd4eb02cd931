"""What was frozen as a study of its own, and the matrix of its verdicts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from support.tiny_sweep import study_file

from hfbench.config.load import load_study
from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of
from hfbench.records.recorded_study import Leftovers, RecordedStudy
from hfbench.sweep.carry_over import carry_over_matrix
from hfbench.sweep.frozen_studies import carry_over_study
from hfbench.sweep.retest import Winner

SETTINGS = {
    "a": {"scheduler.theta": 0.9, "globalization.initial_damping": 7.0},
    "b": {"scheduler.theta": 0.2, "globalization.initial_damping": 70.0},
}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return load_study(str(study_file(tmp_path)), ["study.seeds=8", 'sweep.tasks=["a","b"]'])


def frozen(*tasks: str) -> dict[str, Winner]:
    return {task: Winner(3, SETTINGS[task], ()) for task in tasks}


def recorded(study: Study, cost: Any) -> RecordedStudy:
    """Runs whose work to the target is `cost(method, task, seed)`."""
    specs = {spec.key(): spec for spec in runs_of(study)}
    ended = {
        key: {
            "key": key, "task": spec.task, "method": spec.method.name, "seed": spec.seed, "outcome": "reached",
            "work_to_target": cost(spec.method.name, spec.task, spec.seed), "work": 60.0,
        }
        for key, spec in specs.items()
    }  # fmt: skip
    return RecordedStudy(study, specs, Path(), Path(), ended, Leftovers())


def test_the_matrix_has_ratios_to_the_defaults_and_to_each_tasks_own(study: Study) -> None:
    costs = {  # by method, on task a and on task b
        "shf": (40.0, 20.0),
        "shf_for_a": (10.0, 40.0),
        "shf_for_b": (20.0, 5.0),
    }
    made = carry_over_study(study, study.sweeps[0], frozen("a", "b"))
    assert made is not None

    def cost(method: str, task: str, seed: int) -> float:
        return costs[method]["ab".index(task)] * math.exp(0.01 * seed)

    cells = carry_over_matrix(recorded(made, cost), "shf", ["a", "b"])
    found = {(one.tuned_on, one.run_on, one.against): one.comparison for one in cells}
    ratios = {place: one.ratio for place, one in found.items()}
    expected = {
        ("a", "a", "defaults"): 0.25, ("b", "a", "defaults"): 0.5, ("a", "b", "defaults"): 2.0,
        ("b", "b", "defaults"): 0.25, ("b", "a", "own"): 2.0, ("a", "b", "own"): 8.0,
    }  # fmt: skip
    assert ratios == pytest.approx(expected)
    assert all(one.p_holm == pytest.approx(4 * 2 / 2**8) for place, one in found.items() if place[2] == "defaults")
    assert all(one.p_holm == pytest.approx(2 * 2 / 2**8) for place, one in found.items() if place[2] == "own")
    assert found["a", "b", "own"].verdict == "clearly worse"
    assert found["a", "a", "defaults"].verdict == "clearly better"


def test_a_task_without_settings_of_its_own_is_compared_with_the_defaults_only(study: Study) -> None:
    made = carry_over_study(study, study.sweeps[0], frozen("a"))
    assert made is not None
    cells = carry_over_matrix(recorded(made, lambda *of: 10.0), "shf", ["a", "b"])
    assert [(one.tuned_on, one.run_on, one.against) for one in cells] == [
        ("a", "a", "defaults"),
        ("a", "b", "defaults"),
    ]
    assert [one.comparison.ratio for one in cells] == [1.0, 1.0]
