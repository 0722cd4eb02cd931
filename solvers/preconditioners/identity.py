"""No preconditioning.

Formula    M = I, so that the solvers run as their papers have them
Source     none: the reference for the other preconditioners
Cost       none
"""

from __future__ import annotations

from typing import ClassVar, final

import torch

from hfbench.parts import Linearisation, Shift, Vector, part


class Unit:
    """M = E = I."""

    replayable: ClassVar[bool] = True

    def solve(self, v: Vector) -> Vector:
        return v

    solve_factor = solve_factor_t = solve


@final
@part
class Identity:
    """No preconditioning: M = I."""

    cases: ClassVar[str] = "curvature"
    trivial: ClassVar[bool] = True  # solvers that take no preconditioner take this one

    def build(self, linearisation: Linearisation, shift: Shift, generator: torch.Generator) -> Unit:
        return Unit()
