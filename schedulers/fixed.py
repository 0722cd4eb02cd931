"""The same batch sizes at every step: gradient on everything and curvature on a quarter, as in Martens' code (2010)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, final

from hfbench.batches import cases
from hfbench.protocols import BatchPlan, Evidence
from hfbench.space import Choice, Linear, Within, part


@final
class FixedSchedule:
    """One plan for ever."""

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
    """Constant batch sizes; cyclic chunks as in Martens' code (2010), or random draws."""

    needs: ClassVar[tuple[str, ...]] = ()
    gradient: Annotated[float, Linear(0.05, 1.0), Within("(0, inf)"), "gradient's cases, a part or a number"] = 1.0
    curvature: Annotated[float, Linear(0.05, 1.0), Within("(0, inf)"), "curvature's cases, a part or a number"] = 0.25
    order: Annotated[str, Choice("cyclic", "random"), "consecutive windows, or a fresh permutation per step"] = "cyclic"

    def begin(self, total: int) -> FixedSchedule:
        """Raises ConfigError if a size exceeds `total`."""
        gradient = cases(self.gradient, total, "scheduler.gradient")
        curvature = min(cases(self.curvature, total, "scheduler.curvature"), gradient)
        return FixedSchedule(BatchPlan(gradient, curvature, self.order, "fixed"))
