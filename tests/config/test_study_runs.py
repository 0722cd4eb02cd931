"""The runs of a study: each once, seed by seed, with its task's settings, and followers with their leader's key."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tiny_study import tiny

from hfbench.config.study_runs import runs_of
from hfbench.errors import ConfigError
from hfbench.tasks.curves import CurvesSmall

FOLLOWER = """
[methods.lsmr]
solver = "lsmr"
preconditioner = "martens"
batches_of = "hf"
"""
OTHER = """
[tasks.other]
use = "curves-small"
cases = 100
validation = 20

[on.other]
methods = ["hf"]
seeds = [1, 5]
budget = { passes = 3 }
"""


def test_they_come_seed_by_seed_and_each_once(tmp_path: Path) -> None:
    specs = runs_of(tiny(tmp_path, "study.seeds=3"))
    assert [(spec.seed, spec.method.name) for spec in specs] == [
        (seed, name) for seed in range(3) for name in ("hf", "shf")
    ]
    assert len({spec.key() for spec in specs}) == 6
    assert {spec.target for spec in specs} == {60.0}
    assert {tuple(spec.budget.items()) for spec in specs} == {(("iterations", 6.0),)}


def test_a_task_has_its_own_methods_seeds_and_budget(tmp_path: Path) -> None:
    overrides = ["study.tasks=['tiny-curves', 'other']", "study.targets.other=1.0"]
    specs = [spec for spec in runs_of(tiny(tmp_path, *overrides, extra=OTHER)) if spec.task == "other"]
    assert [(spec.seed, spec.method.name, dict(spec.budget)) for spec in specs] == [
        (1, "hf", {"passes": 3.0}),
        (5, "hf", {"passes": 3.0}),
    ]
    assert all(spec.task_settings["cases"] == 100 for spec in specs)


def test_the_study_says_how_often_errors_are_evaluated_else_the_task_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def intervals(*changes: str) -> set[int]:
        return {spec.evaluate_every for spec in runs_of(tiny(tmp_path, *changes))}

    assert intervals() == {1}
    monkeypatch.setattr(CurvesSmall, "evaluate_every", 20, raising=False)
    assert intervals() == {20}, "also where the budget is smaller: the end is looked at anyway"
    assert intervals("study.evaluate_every=3") == {3}
    assert intervals("study.evaluate_every=3", "on.tiny-curves.evaluate_every=2") == {2}
    with pytest.raises(ConfigError, match=r"^study\.evaluate_every: must be at most the 6 iterations of the budget on"):
        intervals("study.evaluate_every=7")
    monkeypatch.setattr(CurvesSmall, "evaluate_every", 0)
    with pytest.raises(ConfigError, match=r"^tasks\.tiny-curves\.evaluate_every: must lie in \[1, 1e9\], but got 0"):
        intervals()


def test_a_follower_has_the_key_of_the_run_it_follows(tmp_path: Path) -> None:
    specs = {(spec.method.name, spec.seed): spec for spec in runs_of(tiny(tmp_path, extra=FOLLOWER))}
    for seed in (0, 1):
        assert specs["lsmr", seed].follows == specs["hf", seed].key()
        assert specs["shf", seed].follows == ""
