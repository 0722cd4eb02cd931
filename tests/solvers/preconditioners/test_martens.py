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


@pytest.mark.parametrize("layout", ["structured", "flat"])
@pytest.mark.parametrize("size", [1e9, 1e12, 1e14])
def test_squares_that_overflow_in_float32_give_a_multiple_of_the_diagonal(size: float, layout: str) -> None:
    """Raw features beside others of about 1: M is that of float64 times a constant, which changes no iterate."""
    x = inputs_for(8, 4, 1) * torch.tensor([size, 1.0, 1.0, 1.0], dtype=torch.float64)
    t, model = targets_for("least-squares", 8, 3, 2), network((4, 3), 0)
    diagonals = []
    for dtype in (torch.float64, torch.float32):
        at = Linearisation(model.to(dtype), "least-squares", x.to(dtype), t.to(dtype), layout=layout)
        M = Martens().build(at, at.layout.spread((0.5, 0.25)), torch.Generator())
        diagonals.append(1 / flat(M.solve(at.parameters.zeros_like().shift_((1.0,) * len(at.parameters)))))
    exact, ours = diagonals
    ratio = ours / exact
    np.testing.assert_allclose(ratio, np.full_like(ratio, ratio[0]), rtol=1e-4)
