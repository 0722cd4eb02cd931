"""All preconditioners: their factors make one symmetric positive matrix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.systems import flat, inputs_for, network, targets_for

from hfbench import registry
from hfbench.curvature.linearisation import Linearisation
from hfbench.linalg.vector import Vector


def problem(loss: str, cases: int = 8):
    model, x, t = network((4, 5, 3), 0), inputs_for(cases, 4, 1), targets_for(loss, cases, 3, 2)
    return model, x, t, Linearisation(model, loss, x, t)


@pytest.mark.parametrize("name", ["identity", "martens", "chapelle-erhan", "exact-diagonal"])
def test_factors_are_one_symmetric_positive_matrix(name: str) -> None:
    *_, at = problem("logistic")
    M = registry.build("preconditioner", name).build(at, (0.3, 0.2, 0.3, 0.2), torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    v, w = (Vector(torch.randn(b.shape, generator=generator, dtype=b.dtype) for b in at.parameters) for _ in range(2))
    np.testing.assert_allclose(flat(M.solve_factor_t(M.solve_factor(v))), flat(M.solve(v)), rtol=1e-12)
    assert M.solve(v).dot(w) == pytest.approx(v.dot(M.solve(w)))
    assert M.solve(v).dot(v) > 0
