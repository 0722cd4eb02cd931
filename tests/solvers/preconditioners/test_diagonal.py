"""Diagonals that are not finite and positive are refused, and no others."""

from __future__ import annotations

import pytest
import torch

from hfbench.errors import NonFiniteError
from hfbench.linalg.vector import Vector
from hfbench.solvers.preconditioners.diagonal import Diagonal


def test_a_diagonal_that_is_not_positive_is_refused() -> None:
    with pytest.raises(NonFiniteError, match="larger damping"):
        Diagonal(Vector([torch.zeros(3)]), (0.0,), 0.75)
    with pytest.raises(NonFiniteError, match="positive"):
        Diagonal(Vector([torch.tensor([1.0, float("nan")])]), (0.1,), 0.75)


def test_entries_whose_norm_overflows_are_finite() -> None:
    M = Diagonal(Vector([torch.tensor([1e25, 1.0])]), (1.0,), 1.0)
    torch.testing.assert_close(M.solve(Vector([torch.ones(2)]))[0], torch.tensor([1e-25, 0.5]))


def test_entries_that_overflow_are_told_from_those_that_are_too_small() -> None:
    with pytest.raises(NonFiniteError, match="infinite or NaN; if inputs or targets are so large.*float32, scale them"):
        Diagonal(Vector([torch.tensor([torch.inf, 1.0])]), (1.0,), 1.0)
