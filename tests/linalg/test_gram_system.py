"""Minimum over a few directions: parallel and vanishing ones, the ridge, and how much q changes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hfbench.linalg.gram_system import gain, minimiser


def test_the_small_system_has_the_least_solution() -> None:
    """Combinations that vanish get nothing, as do directions of no length; noise below zero counts as zero."""
    s = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    K = torch.tensor([[4.0, 4.0, 0.0], [4.0, 4.0 - 1e-14, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(minimiser(K, s, 0.0, 1e-12), s / 8)
    assert minimiser(torch.full((2, 2), torch.nan, dtype=torch.float64), s[:2], 0.0, 1e-15).isnan().all()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.floats(1e-6, 1.0), st.integers(0, 10**6))
def test_the_ridge_is_added_to_the_scaled_matrix(size: int, ridge: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    Q = torch.randn(size + 1, size, generator=generator, dtype=torch.float64)
    K, s = Q.T @ Q, torch.randn(size, generator=generator, dtype=torch.float64)
    damped = K + ridge * torch.diag(K.diagonal())
    torch.testing.assert_close(minimiser(K, s, ridge, 1e-15), torch.linalg.solve(damped, s), atol=1e-8, rtol=1e-6)


def test_the_gain_is_the_change_of_the_quadratic() -> None:
    generator = torch.Generator().manual_seed(0)
    Q = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    K, s = Q.T @ Q, torch.randn(3, generator=generator, dtype=torch.float64)
    c = minimiser(K, s, 0.0, 1e-15)
    assert gain(K, s, c) == pytest.approx(-0.5 * float(s @ torch.linalg.solve(K, s)))
    assert all(gain(K, s, c + d) > gain(K, s, c) for d in 0.1 * torch.eye(3, dtype=torch.float64))
