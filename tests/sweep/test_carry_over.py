"""What was frozen as a study of its own, and the matrix of its verdicts."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.tiny_sweep import study_file

from hfbench.config.load import load_study
from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of
from hfbench.config.to_toml import toml
from hfbench.parts.families import check_name
from hfbench.records.recorded_study import Leftovers, RecordedStudy
from hfbench.sweep.carry_over import carry_over_matrix, frozen_study, name_of
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


def test_a_frozen_study_never_has_the_name_of_another(study: Study) -> None:
    names = [letters * 64 for letters in "xy"] + ["x" * 57 + end for end in ("", "-1", "-2")]
    made = [frozen_study(replace(study, name=name), frozen("a")) for name in names]
    frozen_names = [one.name for one in made if one is not None]
    assert len({*names, *frozen_names}) == 10
    for name in frozen_names:
        check_name(name, "study.name")


def test_each_task_gives_a_method_with_its_settings_and_nothing_else_changes(study: Study, tmp_path: Path) -> None:
    made = frozen_study(study, frozen("a", "b"))
    assert made is not None
    assert list(made.methods) == ["shf", "shf_for_a", "shf_for_b"]
    for task, settings in SETTINGS.items():
        method = made.methods[name_of("shf", task)]
        assert method.scheduler is not None
        assert method.scheduler == {**(study.methods["shf"].scheduler or {}), "theta": settings["scheduler.theta"]}
        assert method.globalization["initial_damping"] == settings["globalization.initial_damping"]
        assert method.solver == study.methods["shf"].solver
    assert (made.baseline, made.sweep, made.name) == ("shf", None, "tiny-frozen")
    assert {task: on.methods for task, on in made.on.items()} == {task: tuple(made.methods) for task in "ab"}
    file = tmp_path / "frozen.toml"
    file.write_text(toml(made, tmp_path))
    assert [spec.key() for spec in runs_of(load_study(str(file)))] == [spec.key() for spec in runs_of(made)]
    assert "1000, 1001, 1002, 1003" in made.notes


def test_what_was_kept_as_it_stands_is_no_method_of_its_own(study: Study) -> None:
    kept = Winner(0, {"scheduler.theta": 0.5}, ())
    made = frozen_study(study, {"a": kept, **frozen("b")})
    assert made is not None
    assert list(made.methods) == ["shf", "shf_for_b"]
    assert frozen_study(study, {"a": kept}) is None


def test_the_matrix_has_ratios_to_the_defaults_and_to_each_tasks_own(study: Study) -> None:
    costs = {  # by method, on task a and on task b
        "shf": (40.0, 20.0),
        "shf_for_a": (10.0, 40.0),
        "shf_for_b": (20.0, 5.0),
    }
    made = frozen_study(study, frozen("a", "b"))
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
    made = frozen_study(study, frozen("a"))
    assert made is not None
    cells = carry_over_matrix(recorded(made, lambda *of: 10.0), "shf", ["a", "b"])
    assert [(one.tuned_on, one.run_on, one.against) for one in cells] == [
        ("a", "a", "defaults"),
        ("a", "b", "defaults"),
    ]
    assert [one.comparison.ratio for one in cells] == [1.0, 1.0]


def test_names_are_short_enough_for_a_folder() -> None:
    assert name_of("shf", "usps") == "shf_for_usps"
    long = [name_of("m" * 50, "t" * 50 + end) for end in "ab"]
    assert [len(name) for name in long] == [64, 64]
    assert len(set(long)) == 2
