"""The fixed schedule: one plan for ever."""

from __future__ import annotations

import json

import pytest

from hfbench.errors import ConfigError
from hfbench.parts.protocols import BatchPlan, Evidence
from hfbench.runs.batches import draw_cases
from hfbench.schedulers.fixed import Fixed


def test_martens_sizes_are_the_default() -> None:
    assert Fixed().begin(200).plan == BatchPlan(200, 50, "cyclic", "fixed")


def test_evidence_changes_nothing() -> None:
    schedule = Fixed(gradient=0.5, curvature=0.1, order="random").begin(100)
    for iteration in range(1, 5):
        evidence = Evidence(iteration, 50, 1e-9, variance_l1=1e9, validation_objective=float(iteration))
        assert schedule.next(evidence) == schedule.plan == BatchPlan(50, 10, "random", "fixed")


def test_sizes_above_one_are_numbers_of_cases() -> None:
    assert Fixed(gradient=30.0, curvature=12.0).begin(40).plan == BatchPlan(30, 12, "cyclic", "fixed")


def test_the_curvature_is_among_the_gradients_cases() -> None:
    plan = Fixed(gradient=0.1, curvature=0.5).begin(100).plan
    assert (plan.gradient, plan.curvature) == (10, 10)
    assert len(draw_cases(plan, 1, 100, None)[1]) == 10


def test_tiny_sets_have_one_case_at_least() -> None:
    assert Fixed(gradient=0.01, curvature=0.01).begin(3).plan == BatchPlan(1, 1, "cyclic", "fixed")


def test_its_state_is_empty() -> None:
    schedule = Fixed().begin(10)
    before = schedule.plan
    schedule.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    assert schedule.plan == before


def test_bad_settings() -> None:
    with pytest.raises(ConfigError, match="^gradient: .*40 training cases, but got 41"):
        Fixed(gradient=41.0).begin(40)
    with pytest.raises(ConfigError, match="^curvature: "):
        Fixed(curvature=41.0).begin(40)
    with pytest.raises(ConfigError, match="did you mean 'cyclic'"):
        Fixed(order="cylic")
    with pytest.raises(ConfigError, match="gradient"):
        Fixed(gradient=0.0)
