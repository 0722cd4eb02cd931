"""Growing batches: the smallest batch that passes a test on its noise, and the plan of a batch.

Formula    a batch S of n of N cases passes where V/n · c <= allowed, V the sample variance over its cases of the
           tested quantity, c = (N - n)/(N - 1) with `correction`, else 1: without replacement, all cases have no noise
"""

from __future__ import annotations

import math

from hfbench.parts import BatchPlan


def smallest_batch(variance: float, allowed: float, n: int, N: int, correction: bool) -> int:
    """The smallest batch that would pass, or n if it passes; all cases if the variance is not finite.

    Without correction this is V/allowed, at most N; with it, V N/(allowed (N - 1) + V).
    """
    factor = (N - n) / (N - 1) if correction else 1.0
    if variance / n * factor <= allowed:
        return n
    if not math.isfinite(variance):
        return N
    if correction:
        return math.ceil(variance * N / (allowed * (N - 1) + variance))
    return math.ceil(min(variance / allowed, N)) if allowed > 0 else N


def plan(batch: int, curvature: float, order: str, reason: str) -> BatchPlan:
    """Plan of `batch` cases for the gradient, and the fraction `curvature` of them, at least one, for the curvature."""
    return BatchPlan(batch, max(1, round(curvature * batch)), order, reason)
