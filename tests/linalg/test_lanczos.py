"""Ritz values against the eigenvalues of a dense matrix."""

from __future__ import annotations

import numpy as np
from support.systems import dense_system

from hfbench.linalg.lanczos import ritz_values


def test_ritz_values_are_eigenvalues_once_the_space_is_whole() -> None:
    system = dense_system("tall", 1e3, 1e-2)
    expected = np.linalg.eigvalsh(system.A)
    found = ritz_values(system.multiply, system.gradient, len(expected) + 5)
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)
    few = ritz_values(system.multiply, system.gradient, 4)
    assert expected[0] <= few[0]
    assert few[-1] <= expected[-1] * (1 + 1e-12)
