"""Damping: the reduction ratio rho, and the update of lambda by it (Levenberg-Marquardt) or on a schedule."""

from __future__ import annotations

import math

from hfbench.hessian_free.globalization import Globalization


def reduction_ratio(before: float, after: float, q_undamped: float) -> float:
    """rho = (f_c(w+p) - f_c(w)) / q(p) with q without lambda; -inf if f_c rose, NaN for a step of length zero."""
    if not after <= before:
        return -math.inf
    return (after - before) / q_undamped if q_undamped != 0 else math.nan


def update_damping(switches: Globalization, damping: float, rho: float | None) -> float:
    """The new lambda: ×3/2 if rho < ¼, ×2/3 if rho > ¾, else unchanged; Martens (2010), section 4.1.

    On a schedule it is ×2/3 at every step.
    """
    if switches.schedule_damping:
        return max(damping * switches.damping_decay, switches.min_damping)
    if rho is None or not switches.adapt_damping:
        return damping
    if rho < switches.rho_low:
        return max(damping * switches.damping_growth, switches.min_damping)  # from lambda = 0 up as well
    if rho > switches.rho_high and damping > switches.min_damping:
        return max(damping * switches.damping_decay, switches.min_damping)
    return damping
