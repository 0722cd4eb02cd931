"""Golub-Kahan bidiagonalisation and the rotation that goes with it."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from support.systems import dense_system, flat

from hfbench.solvers.bidiagonalisation import ShiftedProblem, golub_kahan, sym_ortho
from hfbench.solvers.preconditioners.identity import Unit


def test_golub_kahan_identities() -> None:
    """Ã V = U B with orthonormal V: the process alone, without a solver."""
    system = dense_system("tall", 20.0, 0.05)
    steps = list(islice(golub_kahan(ShiftedProblem(system, None, Unit())), 8))
    V = np.stack([flat(v) for _, v, _ in steps], 1)
    assert np.allclose(V.T @ V, np.eye(8), atol=1e-10)
    alphas, betas = [a for _, _, a in steps], [b for b, _, _ in steps]
    T = V.T @ system.A @ V  # BᵀB is tridiagonal with alpha_k² + beta_{k+1}² on the diagonal
    assert np.allclose(np.diag(T)[:7], [alphas[k] ** 2 + betas[k + 1] ** 2 for k in range(7)], atol=1e-10)


@pytest.mark.parametrize(("a", "b"), [(3.0, 4.0), (-3.0, 4.0), (0.0, 2.0), (0.0, 0.0)])
def test_sym_ortho(a: float, b: float) -> None:
    c, s, r = sym_ortho(a, b)
    assert c * a + s * b == pytest.approx(r)
    assert c * b - s * a == pytest.approx(0.0)
    assert r >= 0
    assert c * c + s * s == pytest.approx(1.0)
