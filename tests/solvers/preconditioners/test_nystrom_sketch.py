"""The randomised Nyström approximation, against its formula and a matrix with known eigenvalues."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hfbench.solvers.preconditioners.nystrom_sketch import nystrom_approximation

DTYPE = torch.float64


def psd(eigenvalues: Tensor, seed: int = 0) -> Tensor:
    n = len(eigenvalues)
    Q = torch.linalg.qr(torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=DTYPE)).Q
    return Q @ torch.diag(eigenvalues) @ Q.T


def omega(n: int, k: int, seed: int = 1) -> Tensor:
    return torch.linalg.qr(torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=DTYPE)).Q


def rebuilt(found: tuple[Tensor, Tensor]) -> Tensor:
    U, eigenvalues = found
    return U @ torch.diag(eigenvalues) @ U.T


def test_it_is_that_of_the_formula() -> None:
    """Y(ΩᵀY)⁻¹Yᵀ, with orthonormal eigenvectors in falling order."""
    G, Omega = psd(torch.logspace(2, -2, 30, dtype=DTYPE)), omega(30, 8)
    found, Y = nystrom_approximation(lambda V: G @ V, Omega, 1e-15)
    torch.testing.assert_close(Y, G @ Omega)
    torch.testing.assert_close(rebuilt(found), Y @ torch.linalg.solve(Omega.T @ Y, Y.T), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found.U.T @ found.U, torch.eye(8, dtype=DTYPE))
    assert (found.eigenvalues.diff() <= 0).all()


def test_it_lies_below_the_matrix_and_within_the_expected_error() -> None:
    """0 ⪯ Ĝ ⪯ G, and E‖G - Ĝ‖ ≤ 3s_p + (2e²/p) Σ_{j≥p} s_j for k = 2p - 1: there, proposition 2.2."""
    eigenvalues = torch.logspace(2, -4, 60, dtype=DTYPE)
    G, p = psd(eigenvalues), 10
    errors = []
    for seed in range(10):
        found, _ = nystrom_approximation(lambda V: G @ V, omega(60, 2 * p - 1, seed), 1e-15)
        rest = torch.linalg.eigvalsh(G - rebuilt(found))
        assert rest[0] > -1e-9
        errors.append(float(rest[-1]))
    bound = 3 * eigenvalues[p - 1] + 2 * torch.e**2 / p * eigenvalues[p - 1 :].sum()
    assert sum(errors) / 10 <= bound


def test_more_columns_take_up_the_old_products() -> None:
    G, Omega, asked = psd(torch.logspace(1, -3, 20, dtype=DTYPE)), omega(20, 10), []

    def multiply(V: Tensor) -> Tensor:
        asked.append(V.shape[1])
        return G @ V

    _, Y = nystrom_approximation(multiply, Omega[:, :4], 1e-15)
    grown, _ = nystrom_approximation(multiply, Omega, 1e-15, Y)
    whole, _ = nystrom_approximation(multiply, Omega, 1e-15)
    assert asked == [4, 6, 10]
    torch.testing.assert_close(rebuilt(grown), rebuilt(whole), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("rounding", [1e-15, 1e-7, 1e-3])
def test_a_matrix_of_low_rank_and_rounded_products_are_no_error(rounding: float) -> None:
    G = psd(torch.cat([torch.logspace(2, 0, 5, dtype=DTYPE), torch.zeros(25, dtype=DTYPE)]))
    noise = torch.Generator().manual_seed(7)

    def multiply(V: Tensor) -> Tensor:
        exact = G @ V
        return exact * (1 + rounding * torch.randn(exact.shape, generator=noise, dtype=DTYPE))

    found, _ = nystrom_approximation(multiply, omega(30, 12), rounding)
    error = torch.linalg.matrix_norm(G - rebuilt(found), 2) / 100
    assert error <= 100 * max(rounding, 1e-14) ** 0.5
    assert found.eigenvalues.min() >= 0


def test_a_zero_matrix_is_no_error() -> None:
    found, _ = nystrom_approximation(torch.zeros_like, omega(10, 3), 1e-15)
    assert found.eigenvalues.abs().max() < 1e-12
