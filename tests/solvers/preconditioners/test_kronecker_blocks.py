"""Blocks of Kronecker factors: their spectra, and what is not finite."""

from __future__ import annotations

import pytest
import torch

from hfbench.errors import NonFiniteError
from hfbench.solvers.preconditioners.kronecker_blocks import spectrum


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_rank_deficient_factors_have_no_negative_eigenvalues() -> None:
    """Two cases, seven inputs, in float32: rounding alone makes eigenvalues below zero."""
    a = torch.randn(2, 70, generator=generator())
    assert float(torch.linalg.eigvalsh(a.T @ a).min()) < 0
    assert float(spectrum(a.T @ a).values.min()) == 0


def test_factors_that_are_not_finite_are_refused() -> None:
    with pytest.raises(NonFiniteError, match="must be finite"):
        spectrum(torch.full((2, 2), torch.nan))
