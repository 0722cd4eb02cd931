"""The key of a run: 16 digits that change with whatever decides its numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.tiny_study import specs, tiny

from hfbench.config.run_spec import RunSpec


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    return specs(tiny(tmp_path / "study"))["shf", 0]


def test_a_key_is_16_digits_and_stable(spec: RunSpec) -> None:
    key = spec.key()
    assert len(key) == 16
    assert int(key, 16) >= 0
    assert replace(spec).key() == key


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"target": 59.0},
        {"budget": {"iterations": 7.0}},
        {"precision": "float64"},
        {"stop_at_target": False},
        {"target_on": "test"},
        {"evaluate_every": 2},
        {"files": {"curves/digs3pts_1.mat": "abc"}},
    ],
)
def test_whatever_decides_the_numbers_changes_the_key(spec: RunSpec, change: dict[str, Any]) -> None:
    assert replace(spec, **change).key() != spec.key()


def test_a_run_that_is_what_runs_always_were_has_the_configuration_that_they_have(spec: RunSpec) -> None:
    """Its key is then the same too, and records of before are found."""
    known = {"task", "task_settings", "method", "seed", "budget", "target", "precision", "device", "stop_at_target"}
    assert set(replace(spec, target_on="test").config()) == known | {"files", "follows"}
    assert set(replace(spec, evaluate_every=2).config()) == known | {"files", "follows", "target_on", "evaluate_every"}


def test_settings_of_parts_change_the_key(spec: RunSpec) -> None:
    other = replace(spec.method, preconditioner={**spec.method.preconditioner, "power": 0.5})
    assert replace(spec, method=other).key() != spec.key()
