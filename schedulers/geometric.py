"""Batches that grow by a constant factor, independently of the steps.

Formula    n ← min(⌈rate·n⌉, N) at every step, from n = start of N cases; the
           curvature sees a constant fraction of the gradient's cases
Source     Friedlander and Schmidt (2012), "Hybrid deterministic-stochastic
           methods for data fitting": a gradient error that falls geometrically
           keeps the full gradient's linear rate. The experiments there take
           ⌈1.1 n + 1⌉
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, final

from hfbench.parts import BatchPlan, Choice, Evidence, Linear, Log, Within, cases, part
from hfbench.schedulers import growth


@final
@part
class Geometric:
    """Batches that grow geometrically: Friedlander & Schmidt."""

    needs: ClassVar[tuple[str, ...]] = ()
    start: Annotated[float, Log(0.01, 0.5), Within("(0, 1] or [2, inf)"), "first batch: a fraction, or cases"] = 0.05
    rate: Annotated[float, Log(1.01, 2.0), Within("(1, 1000]"), "growth factor of each step"] = 1.1
    curvature: Annotated[float, Linear(0.1, 1.0), Within("(0, 1]"), "curvature's fraction of the gradient's cases"] = (
        1.0
    )
    order: Annotated[str, Choice("random", "cyclic"), "a fresh permutation per step, or consecutive windows"] = "random"

    def begin(self, total: int) -> GeometricSchedule:
        """Raises ConfigError if `start` exceeds `total`."""
        return GeometricSchedule(self, total, cases(self.start, total, "start"))


@final
class GeometricSchedule:
    """Schedule of one run: the batch size."""

    def __init__(self, rules: Geometric, total: int, batch: int) -> None:
        self.rules, self.total = rules, total
        self.batch, self.reason = batch, "start"

    @property
    def plan(self) -> BatchPlan:
        return growth.plan(self.batch, self.rules.curvature, self.rules.order, self.reason)

    def next(self, evidence: Evidence) -> BatchPlan:
        """Grows the batch until it has all cases."""
        self.reason = "full" if self.batch == self.total else "growth"
        self.batch = math.ceil(min(self.rules.rate * self.batch, self.total))
        return self.plan

    def state_dict(self) -> dict[str, Any]:
        return {"batch": self.batch, "reason": self.reason}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.batch, self.reason = int(state["batch"]), str(state["reason"])
