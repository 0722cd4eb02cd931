"""Null steps one after another, and the scale of the features that may cause them."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from hfbench.curvature.feature_scale import REMEDY, largest_of
from hfbench.hessian_free.step_result import StepResult

IN_A_ROW = 3  # null steps; a single one is a matter of course, since it raises lambda for the next


class NullSteps:
    """Warns once of steps that leave the weights as they are, if features so large that lambda is below the rounding.

    The curvature grows with the features' squares, so that its rounding is about eps·max(x²) in the weights' dtype.
    """

    def __init__(self) -> None:
        self.in_a_row = 0

    def see(self, result: StepResult, inputs: Tensor, dtype: torch.dtype, stacklevel: int) -> None:
        is_null = result.step_norm == 0 and result.gradient_norm > 0
        self.in_a_row = self.in_a_row + 1 if is_null else 0
        if self.in_a_row != IN_A_ROW:
            return
        largest = largest_of(inputs)
        rounding = torch.finfo(dtype).eps * largest**2
        if rounding > result.damping:
            warnings.warn(
                f"{IN_A_ROW} steps left the weights as they are: features reach {largest:.0e}, and in "
                f"{str(dtype).removeprefix('torch.')} their curvature is rounded by about {rounding:.0e}, far beyond "
                f"lambda. {REMEDY}",
                stacklevel=stacklevel,
            )
