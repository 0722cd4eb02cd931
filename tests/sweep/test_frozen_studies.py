"""What was frozen as studies of their own: of each method, and of several tuned alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.tiny_sweep import SEVERAL, several_file, study_file

from hfbench.config.load import load_study
from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of
from hfbench.config.to_toml import toml
from hfbench.parts.families import check_name
from hfbench.sweep.frozen_studies import carry_over_study, name_of, tuned_study
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


def test_a_frozen_study_never_has_the_name_of_another(study: Study) -> None:
    names = [letters * 64 for letters in "xy"] + ["x" * 57 + end for end in ("", "-1", "-2")]
    made = [carry_over_study(replace(study, name=name), study.sweeps[0], frozen("a")) for name in names]
    frozen_names = [one.name for one in made if one is not None]
    assert len({*names, *frozen_names}) == 10
    for name in frozen_names:
        check_name(name, "study.name")


def test_each_task_gives_a_method_with_its_settings_and_nothing_else_changes(study: Study, tmp_path: Path) -> None:
    made = carry_over_study(study, study.sweeps[0], frozen("a", "b"))
    assert made is not None
    assert list(made.methods) == ["shf", "shf_for_a", "shf_for_b"]
    for task, settings in SETTINGS.items():
        method = made.methods[name_of("shf", task)]
        assert method.scheduler is not None
        assert method.scheduler == {**(study.methods["shf"].scheduler or {}), "theta": settings["scheduler.theta"]}
        assert method.globalization["initial_damping"] == settings["globalization.initial_damping"]
        assert method.solver == study.methods["shf"].solver
    assert (made.baseline, made.sweeps, made.name) == ("shf", (), "tiny-frozen")
    assert {task: on.methods for task, on in made.on.items()} == {task: tuple(made.methods) for task in "ab"}
    file = tmp_path / "frozen.toml"
    file.write_text(toml(made, tmp_path))
    assert [spec.key() for spec in runs_of(load_study(str(file)))] == [spec.key() for spec in runs_of(made)]
    assert "1000, 1001, 1002, 1003" in made.notes


def test_what_was_kept_as_it_stands_is_no_method_of_its_own(study: Study) -> None:
    kept = Winner(0, {"scheduler.theta": 0.5}, ())
    made = carry_over_study(study, study.sweeps[0], {"a": kept, **frozen("b")})
    assert made is not None
    assert list(made.methods) == ["shf", "shf_for_b"]
    assert carry_over_study(study, study.sweeps[0], {"a": kept}) is None


def test_names_are_short_enough_for_a_folder() -> None:
    assert name_of("shf", "usps") == "shf_for_usps"
    long = [name_of("m" * 50, "t" * 50 + end) for end in "ab"]
    assert [len(name) for name in long] == [64, 64]
    assert len(set(long)) == 2


# ---------------------------------------------------------------- several methods


@pytest.fixture
def several(tmp_path: Path) -> Study:
    return load_study(str(several_file(tmp_path)))


def won(trial: int, **settings: float) -> Winner:
    return Winner(trial, {path.replace("__", "."): value for path, value in settings.items()}, ())


def test_tuned_methods_keep_their_names_and_have_on_each_task_what_was_frozen_there(
    several: Study, tmp_path: Path
) -> None:
    found = {
        "adam": {"a": won(3, optimizer__lr=0.02), "b": won(0, optimizer__lr=0.01)},
        "shf": {"a": won(2, globalization__initial_damping=7.0), "b": won(5, globalization__initial_damping=70.0)},
    }
    made = tuned_study(several, found)
    assert (made.name, made.baseline, made.sweeps) == ("several-frozen", "adam", ())
    assert made.methods == several.methods
    rates = [(made.method_on(task, "adam").optimizer or {})["lr"] for task in "ab"]
    dampings = [made.method_on(task, "shf").globalization["initial_damping"] for task in "ab"]
    assert (rates, dampings) == ([0.02, 0.01], [7.0, 70.0])
    assert all(made.method_on(task, "plain") is several.methods["plain"] for task in "ab")
    (tmp_path / "frozen.toml").write_text(toml(made, tmp_path))
    again = load_study(str(tmp_path / "frozen.toml"))
    assert [spec.key() for spec in runs_of(again)] == [spec.key() for spec in runs_of(made)]


def test_a_method_that_is_tuned_on_a_task_is_compared_there(tmp_path: Path) -> None:
    file = tmp_path / "several.toml"
    file.write_text(SEVERAL + '\n[on.b]\nmethods = ["adam"]\n')
    study = load_study(str(file))
    made = tuned_study(study, {"adam": {}, "shf": {"b": won(2, globalization__initial_damping=7.0)}})
    assert made.on["b"].methods == ("adam", "shf")


def test_the_carry_over_of_each_method_has_a_name_of_its_own(several: Study) -> None:
    made = [
        carry_over_study(several, sweep, {"a": won(3, **{path.replace(".", "__"): 5.0 for path in sweep.parameters})})
        for sweep in several.sweeps
    ]
    assert [one.name for one in made if one is not None] == ["several-adam-frozen", "several-shf-frozen"]
    assert [list(one.methods) for one in made if one is not None] == [["adam", "adam_for_a"], ["shf", "shf_for_a"]]
