"""Diagonals that are not positive are refused."""

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
