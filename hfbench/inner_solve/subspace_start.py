"""Start of an inner solve at the minimiser of q over preconditioned gradient and warm start, each cut into layers."""

from __future__ import annotations

import torch

from hfbench.inner_solve.system import GaussNewtonSystem
from hfbench.linalg.gram_system import minimiser
from hfbench.linalg.vector import Vector
from hfbench.parts.protocols import BuiltPreconditioner

RIDGE = 1e-4  # on the unit diagonal of the small system, as the solver `subspace` has it


def subspace_start(system: GaussNewtonSystem, preconditioner: BuiltPreconditioner, x0: Vector | None) -> Vector | None:
    """V c for the V of M⁻¹b and x0 by layer that has the least q, up to the ridge; x0 itself if it is not finite.

    Takes one sweep of J v (`hfbench.inner_solve.span`) and one solve with M. The solver's iterates go on from it.
    """
    b = -system.gradient
    span = system.span([preconditioner.solve(b), *([] if x0 is None else [x0])], "layers")
    K, w = span.matrix, torch.zeros(len(span.matrix), dtype=torch.float64)  # x0 = V w
    if x0 is not None:
        w[1::2] = 1.0
    c = minimiser(K, span.slopes(b) - K @ w, RIDGE, span.rounding)
    return span.combined((w + c).tolist()) if bool(torch.isfinite(c).all()) else x0
