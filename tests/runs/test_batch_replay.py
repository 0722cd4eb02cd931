"""A batch trace is followed step by step, held at its end, and resumed."""

from __future__ import annotations

import pytest

from hfbench.errors import ConfigError
from hfbench.parts.protocols import BatchPlan, Evidence
from hfbench.runs.batch_replay import Replay, plans

ROWS = [
    {"batch_gradient": None, "batch_curvature": None, "batch_order": None, "batch_reason": None},
    {"batch_gradient": 10, "batch_curvature": 5, "batch_order": "random", "batch_reason": "start"},
    {"batch_gradient": 25, "batch_curvature": 12, "batch_order": "random", "batch_reason": "variance"},
]
FIRST = BatchPlan(10, 5, "random", "replay: start")
SECOND = BatchPlan(25, 12, "random", "replay: variance")


def test_the_trace_is_followed_and_its_end_held() -> None:
    schedule = Replay(plans(ROWS))
    seen = [schedule.plan, *(schedule.next(Evidence(i, 10, 1.0)) for i in (1, 2, 3))]
    assert seen == [FIRST, SECOND, SECOND, SECOND]


def test_a_resumed_replay_goes_on_where_it_was() -> None:
    schedule = Replay(plans(ROWS))
    schedule.next(Evidence(1, 10, 1.0))
    resumed = Replay(plans(ROWS))
    resumed.load_state_dict(schedule.state_dict())
    assert resumed.plan == SECOND


def test_a_trace_without_steps_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one step"):
        Replay(plans(ROWS[:1]))
