"""What the exact solvers share: Cholesky with a reason, and the frame of two states."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.systems import blocks, dense_system, flat

from hfbench.linalg.vector import Vector
from hfbench.parts.protocols import Breakdown
from hfbench.solvers.exact import NotPositiveDefinite, cholesky, exact_iterates
from hfbench.solvers.preconditioners.identity import Unit


def test_cholesky_says_why_there_is_none() -> None:
    A = torch.tensor([[4.0, 2.0], [2.0, 3.0]], dtype=torch.float64)
    torch.testing.assert_close(cholesky(A, 3), torch.from_numpy(np.linalg.cholesky(A.numpy())))
    for entry, is_finite in ((-1.0, True), (math.nan, False), (math.inf, False)):
        A[1, 1] = entry
        with pytest.raises(NotPositiveDefinite) as caught:
            cholesky(A, 3)
        assert (caught.value.is_finite, caught.value.products) == (is_finite, 3)


@pytest.mark.parametrize("warm", [False, True])
def test_any_solution_is_judged_by_its_residual(warm: bool) -> None:
    """q and the norm are those of the x that came, right or wrong."""
    system = dense_system("tall", 20.0, 0.05)
    x0, x1 = (blocks(np.random.default_rng(seed).standard_normal(42)) for seed in (1, 2))

    def solution(b: Vector) -> tuple[Vector, Vector, float]:
        return x1, b - system.multiply(x1), 7

    start, end = exact_iterates(system, x0 if warm else None, Unit(), solution)
    assert (start.products, end.products) == (int(warm), int(warm) + 7)
    for state, x in ((start, flat(x0) * warm), (end, flat(x1))):
        assert state.q == pytest.approx(system.q(x), rel=1e-10)
        b = system.K.T @ system.b
        assert state.relative_residual == pytest.approx(np.linalg.norm(b - system.A @ x) / np.linalg.norm(b))


def test_a_failure_keeps_the_start() -> None:
    system, x0 = dense_system("tall", 20.0, 0.05), blocks(np.ones(42))

    def fails(b: Vector) -> tuple[Vector, Vector, float]:
        raise NotPositiveDefinite(is_finite=False, products=7)

    start, end = exact_iterates(system, x0, Unit(), fails)
    assert end.breakdown is Breakdown.NONPOSITIVE_CURVATURE
    assert math.isnan(end.q)
    assert end.x is start.x
    assert end.products == 8  # one for the start
