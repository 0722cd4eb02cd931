"""The result of a step: its numbers are those of the objective."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from support.small_steps import problem, weights
from support.systems import flat
from torch import nn

from hfbench import HessianFree
from hfbench.curvature.objective import objective
from hfbench.hessian_free.step_result import StepResult


def test_the_result_is_about_the_objective() -> None:
    model, x, t = problem()
    before = copy.deepcopy(model)
    optimizer = HessianFree(model, decay=0.1, decay_mask="all")
    result = optimizer.step(x, t)
    w = before_weights = weights(before)
    value = float(nn.functional.binary_cross_entropy_with_logits(before(x), t, reduction="sum").detach()) / 30
    assert result.objective_before == pytest.approx(value + 0.05 * w @ w)
    assert result.step_norm == pytest.approx(float(np.linalg.norm(weights(model) - before_weights)))
    leaves = list(before.parameters())
    loss = nn.functional.binary_cross_entropy_with_logits(before(x), t, reduction="sum") / 30
    g = flat(torch.autograd.grad(loss, leaves)) + 0.1 * w  # type: ignore[arg-type]
    assert result.gradient_norm == pytest.approx(float(np.linalg.norm(g)))
    assert result.objective_after == pytest.approx(objective(model, "logistic", x, t, optimizer.mu_D))
    row = result.to_row()
    assert list(row) == list(StepResult.__dataclass_fields__)
    assert all(value is None or isinstance(value, int | float | str) for value in row.values())


def test_rho_is_measured_on_the_curvatures_cases() -> None:
    model, x, t = problem()
    before = copy.deepcopy(model)
    optimizer = HessianFree(model, globalization={"initial_damping": 1.0})
    result = optimizer.step(x, t, (x[:12], t[:12]))
    assert result.step_length == 1.0
    f = [objective(one, "logistic", x[:12], t[:12]) for one in (before, model)]
    undamped = result.q - 0.5 * result.damping * result.step_norm**2
    assert result.rho == pytest.approx((f[1] - f[0]) / undamped, rel=1e-8)
