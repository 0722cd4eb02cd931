"""Blocks of Kronecker factors: their decompositions, and what is not finite or not definite."""

from __future__ import annotations

import pytest
import torch

from hfbench.curvature.kronecker_factors import LayerFactors
from hfbench.errors import NonFiniteError
from hfbench.solvers.preconditioners.kronecker_blocks import SplitBlock, damped_cholesky, damping_of, spectrum


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_rank_deficient_factors_have_no_negative_eigenvalues() -> None:
    """Two cases, seven inputs, in float32: rounding alone makes eigenvalues below zero."""
    a = torch.randn(2, 70, generator=generator())
    assert float(torch.linalg.eigvalsh(a.T @ a).min()) < 0
    assert float(spectrum(a.T @ a).values.min()) == 0


@pytest.mark.parametrize("decompose", [spectrum, lambda F: damped_cholesky(F, 0.1)])
def test_factors_that_are_not_finite_are_refused(decompose) -> None:
    for entry in (torch.nan, torch.inf):
        with pytest.raises(NonFiniteError, match="must be finite"):
            decompose(torch.full((2, 2), entry))


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_split_damping_by_cholesky_is_that_by_eigenvectors(dtype: torch.dtype, close: float) -> None:
    """M⁻¹V, and E E ᵀ = M, for factors of an ordinary layer, rank-deficient ones among them."""
    rows = {"left": (60, 20), "right": (15, 40)}  # the right one has rank 15 of 40
    L, R = (
        (x.T @ x / len(x)).to(dtype)
        for x in (torch.randn(n, m, generator=generator(n), dtype=torch.float64) for n, m in rows.values())
    )
    V, gamma = torch.randn(20, 40, generator=generator(1), dtype=torch.float64).to(dtype), 0.01
    block = SplitBlock(LayerFactors(0, None, L, R, 1.0, 0.0), L, R, gamma, dtype)
    left, right = spectrum(L), spectrum(R)
    of_left, of_right = damping_of(float(left.values.mean()), float(right.values.mean()), gamma)
    by_left = left.Q / (left.values + of_left) @ left.Q.T
    by_right = right.Q / (right.values + of_right) @ right.Q.T
    expected = by_left @ V @ by_right
    scale = float(expected.abs().max())
    torch.testing.assert_close(block.solve(V), expected, rtol=0, atol=close * scale)
    torch.testing.assert_close(block.solve_factor_t(block.solve_factor(V)), expected, rtol=0, atol=close * scale)


def test_eigenvalues_that_rounding_made_negative_count_as_zero() -> None:
    """Rank 2 of 70 in float32, damped by less than its rounding."""
    a, damping = torch.randn(2, 70, generator=generator()), 1e-6
    F = a.T @ a
    assert float(torch.linalg.eigvalsh(F.double()).min()) < -damping
    C = damped_cholesky(F, damping)
    assert C.dtype == torch.float32
    assert torch.equal(C, C.tril())
    assert C.diagonal().min() > 0
    torch.testing.assert_close(C @ C.T, F, rtol=0, atol=1e-5 * float(F.diagonal().max()))
    assert float(torch.linalg.matrix_norm(torch.linalg.inv(C.double()), 2)) ** 2 == pytest.approx(1 / damping, rel=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_singular_factor_without_damping_is_refused(dtype: torch.dtype) -> None:
    a = torch.randn(2, 7, generator=generator(), dtype=torch.float64).to(dtype)
    with pytest.raises(NonFiniteError, match="must be positive definite, but its smallest eigenvalue is 0"):
        damped_cholesky(a.T @ a, 0.0)
