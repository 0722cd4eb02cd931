"""What schedulers of growing batches share: the plan of a batch of which the curvature takes a constant part."""

from __future__ import annotations

from hfbench.parts import BatchPlan


def plan(batch: int, curvature: float, order: str, reason: str) -> BatchPlan:
    """`batch` cases for the gradient and the part `curvature` of them, one at least, for the curvature."""
    return BatchPlan(batch, max(1, round(curvature * batch)), order, reason)
