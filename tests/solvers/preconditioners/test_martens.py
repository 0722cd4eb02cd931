"""Martens' diagonal against gradients of one case at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.systems import flat, inputs_for, network, targets_for

from hfbench.curvature.linearisation import Linearisation
from hfbench.linalg.vector import Vector
from hfbench.solvers.preconditioners.martens import Martens

LOSS_NAMES = ["least-squares", "logistic", "softmax"]


def problem(loss: str, cases: int = 8):
    model, x, t = network((4, 5, 3), 0), inputs_for(cases, 4, 1), targets_for(loss, cases, 3, 2)
    return model, x, t, Linearisation(model, loss, x, t)


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_martens_is_the_damped_mean_square(loss: str) -> None:
    model, x, t, at = problem(loss)
    per_case = np.stack([flat(Linearisation(model, loss, x[i : i + 1], t[i : i + 1]).gradient) for i in range(len(x))])
    shift = (0.3, 0.2, 0.3, 0.2)
    M = Martens(exponent=0.75).build(at, shift, torch.Generator())
    full = flat(Vector(torch.full_like(b, s) for b, s in zip(at.parameters, shift, strict=True)))
    ones = Vector(torch.ones_like(b) for b in at.parameters)
    np.testing.assert_allclose(1 / flat(M.solve(ones)), ((per_case**2).mean(0) + full) ** 0.75, rtol=1e-10)
