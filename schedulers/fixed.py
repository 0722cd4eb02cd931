"""Constant batch sizes.

Formula    n gradient cases of N, and of these m curvature cases, at each step:
           n = gradient·N and m = curvature·N, or the numbers themselves where
           they are 2 or more; m is at most n
Cyclic     consecutive windows that wrap around. With gradient = 1 and
           curvature = 1/c the curvature runs through c chunks in turn
Random     a fresh permutation per step, of which both take the beginning
Epochs     windows of a permutation, fresh when no whole window is left: a pass
           meets no case twice
Source     Martens (2010) and its program: gradient on everything, curvature on
           the next quarter (the defaults)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, final

from hfbench.parts import BatchPlan, Choice, Evidence, Linear, Within, cases, part


@final
class FixedSchedule:
    """Schedule of one run: the same plan at every step."""

    def __init__(self, plan: BatchPlan) -> None:
        self.plan = plan

    def next(self, evidence: Evidence) -> BatchPlan:
        return self.plan

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore: the plan follows from the settings."""


@final
@part
class Fixed:
    """Constant batch sizes, in cyclic windows or drawn at random."""

    needs: ClassVar[tuple[str, ...]] = ()
    gradient: Annotated[
        float, Linear(0.05, 1.0), Within("(0, 1] or [2, inf)"), "gradient's cases, a fraction or a number"
    ] = 1.0
    curvature: Annotated[
        float, Linear(0.05, 1.0), Within("(0, 1] or [2, inf)"), "curvature's cases, a fraction or a number"
    ] = 0.25
    order: Annotated[
        str,
        Choice("cyclic", "random", "epochs"),
        "windows in order, or of a permutation per step or pass",
    ] = "cyclic"

    def begin(self, total: int) -> FixedSchedule:
        """Raises ConfigError if a size exceeds `total`."""
        gradient = cases(self.gradient, total, "gradient")
        curvature = min(cases(self.curvature, total, "curvature"), gradient)
        return FixedSchedule(BatchPlan(gradient, curvature, self.order, "fixed"))
