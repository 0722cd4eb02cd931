"""The geometric schedule: growth by a constant factor, up to all cases."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfbench.errors import ConfigError
from hfbench.parts.protocols import BatchPlan, Evidence
from hfbench.schedulers.geometric import Geometric, GeometricSchedule


def sizes(schedule: GeometricSchedule, steps: int) -> list[tuple[int, str]]:
    """The plan of the coming step and of those after it."""
    plans = [schedule.plan, *(schedule.next(Evidence(i, 0, 1.0)) for i in range(steps))]
    return [(plan.gradient, plan.reason) for plan in plans]


def test_it_grows_by_its_rate_to_all_cases() -> None:
    schedule = Geometric(start=0.1, rate=1.5).begin(100)
    assert sizes(schedule, 8) == [
        (10, "start"), (15, "growth"), (23, "growth"), (35, "growth"), (53, "growth"), (80, "growth"),
        (100, "growth"), (100, "full"), (100, "full"),
    ]  # fmt: skip


def test_small_batches_grow_by_one_case_at_least() -> None:
    assert [size for size, _ in sizes(Geometric(start=1e-9, rate=1.01).begin(1000), 4)] == [1, 2, 3, 4, 5]


def test_a_start_with_all_cases_is_full() -> None:
    assert sizes(Geometric(start=1.0).begin(7), 2) == [(7, "start"), (7, "full"), (7, "full")]


def test_the_curvature_grows_along() -> None:
    schedule = Geometric(start=64.0, rate=2.0, curvature=0.25, order="cyclic").begin(1000)
    assert schedule.plan == BatchPlan(64, 16, "cyclic", "start")
    assert schedule.next(Evidence(1, 64, 1.0)) == BatchPlan(128, 32, "cyclic", "growth")


@given(st.integers(1, 10**5), st.floats(1e-3, 1.0), st.floats(1.001, 3.0), st.floats(0.01, 1.0), st.integers(0, 30))
def test_bounds_and_resuming(total: int, start: float, rate: float, curvature: float, cut: int) -> None:
    settings = {"start": start, "rate": rate, "curvature": curvature}
    schedule, resumed = (Geometric(**settings).begin(total) for _ in range(2))
    for i in range(30):
        if i == cut:
            resumed.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
            assert resumed.plan == schedule.plan
        before = schedule.plan.gradient
        plan = schedule.next(Evidence(i, before, 1.0))
        assert min(before + 1, total) <= plan.gradient <= min(before * rate + 1, total)
        assert 1 <= plan.curvature <= plan.gradient
        assert (plan.reason == "full") == (before == total)
        if i >= cut:
            assert resumed.next(Evidence(i, before, 1.0)) == plan


def test_bad_settings() -> None:
    with pytest.raises(ConfigError, match="^start: .*30 training cases, but got 31"):
        Geometric(start=31.0).begin(30)
    for wrong in ({"rate": 1.0}, {"curvature": 0.0}, {"order": "sorted"}, {"start": 0.0}):
        with pytest.raises(ConfigError, match=f"^{next(iter(wrong))}: "):
            Geometric(**wrong)
