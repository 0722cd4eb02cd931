"""Damping: the reduction ratio rho, and the Levenberg-Marquardt update of lambda."""

from __future__ import annotations

import math


def reduction_ratio(before: float, after: float, q_undamped: float) -> float:
    """rho = (f_c(w+p) - f_c(w)) / q(p) with q without lambda; -inf if f_c rose, NaN for a step of length zero."""
    if not after <= before:
        return -math.inf
    return (after - before) / q_undamped if q_undamped != 0 else math.nan
