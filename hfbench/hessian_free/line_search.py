"""Line search: a step length along p by Armijo's rule."""

from __future__ import annotations

from dataclasses import dataclass

from hfbench.hessian_free.globalization import Globalization, Objective
from hfbench.linalg.vector import Vector


@dataclass(frozen=True)
class LineStep:
    """A step length along p (0 if no step is taken) and the objective there."""

    length: float
    value: float


def line_search(rules: Globalization, f: Objective, p: Vector, f_0: float, f_1: float, slope: float) -> LineStep:
    """The first length 1, 0.8, 0.64, … with f(w + length·p) <= f_0 + 0.01·length·gᵀp; none after 60 tries.

    f_1 is f(w + p), which is already known; `slope` is gᵀp. If p is not a descent direction, no step is taken.
    """
    if slope > 0:
        return LineStep(0.0, f_0)
    length, value, tries = 1.0, f_1, 1
    while not value <= f_0 + rules.armijo * length * slope:
        if tries == rules.max_tries:
            return LineStep(0.0, f_0)
        length, tries = length * rules.shrink, tries + 1
        value = f(p * length)
    return LineStep(length, value)
