"""Batch replay: a schedule that repeats the recorded batches of another method.

Sizes and order come from the trace, and the cases from the seed's stream of the iteration, so that two methods of one
seed see identical batches. A replay measures and decides nothing: it needs no variance and no validation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hfbench.errors import ConfigError
from hfbench.parts.protocols import BatchPlan, Evidence


class Replay:
    """The recorded plans in order; after the last one, it is repeated."""

    def __init__(self, recorded: Sequence[BatchPlan]) -> None:
        """Raises ConfigError for a trace without a step."""
        if not recorded:
            raise ConfigError("a batch trace to replay must have at least one step, but the recorded run has none.")
        self.recorded, self.done = list(recorded), 0

    @property
    def plan(self) -> BatchPlan:
        return self.recorded[min(self.done, len(self.recorded) - 1)]

    def next(self, evidence: Evidence) -> BatchPlan:
        self.done += 1
        return self.plan

    def state_dict(self) -> dict[str, Any]:
        return {"done": self.done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.done = int(state["done"])


def plans(rows: Sequence[Mapping[str, Any]]) -> list[BatchPlan]:
    """The plans of a trace's rows; row 0, before the first step, has none."""
    return [
        BatchPlan(row["batch_gradient"], row["batch_curvature"], row["batch_order"], f"replay: {row['batch_reason']}")
        for row in rows
        if row["batch_gradient"] is not None
    ]


def repeats(rows: Sequence[Mapping[str, Any]], recorded: Sequence[BatchPlan]) -> bool:
    """Whether the rows are of a run that replayed these plans from the first one on."""
    replay = Replay(recorded)
    for row in rows:
        if row["batch_gradient"] is None:
            continue
        if (
            BatchPlan(row["batch_gradient"], row["batch_curvature"], row["batch_order"], row["batch_reason"])
            != replay.plan
        ):
            return False
        replay.done += 1
    return True
