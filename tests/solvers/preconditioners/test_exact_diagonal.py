"""The exact diagonal against dense matrices, and against the mean of what estimates it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.systems import dense_hessian, dense_jacobian, flat, inputs_for, network, targets_for
from torch import nn

from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.work_ledger import Ledger
from hfbench.linalg.vector import Vector
from hfbench.solvers.preconditioners.chapelle_erhan import ChapelleErhan
from hfbench.solvers.preconditioners.exact_diagonal import ExactDiagonal

LOSS_NAMES = ["least-squares", "logistic", "softmax"]


def dense_diagonal(model: nn.Module, loss: str, x: torch.Tensor, t: torch.Tensor) -> np.ndarray:
    J, H = dense_jacobian(model, x), dense_hessian(loss, model(x), t)
    return torch.diagonal(J.T @ H @ J).detach().numpy() / len(x)


@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("layout", ["structured", "flat"])
@pytest.mark.parametrize("chunk", [None, 3])
def test_it_is_the_diagonal_of_the_gauss_newton_matrix(loss: str, layout: str, chunk: int | None) -> None:
    model, x, t = network((4, 5, 3), 0), inputs_for(8, 4, 1), targets_for(loss, 8, 3, 2)
    at = Linearisation(model, loss, x, t, layout=layout, chunk=chunk)
    exact = dense_diagonal(model, loss, x, t)
    np.testing.assert_allclose(flat(ExactDiagonal().diagonal(at)), exact, rtol=1e-9, atol=1e-15)
    shift = at.layout.spread([0.3, 0.2, 0.3, 0.2])
    M = ExactDiagonal(exponent=0.75).build(at, shift, torch.Generator())
    full = np.concatenate([np.full(p.numel(), s) for p, s in zip(model.parameters(), (0.3, 0.2) * 2, strict=True)])
    ones = Vector(torch.ones_like(b) for b in at.parameters)
    np.testing.assert_allclose(1 / flat(M.solve(ones)), (exact + full) ** 0.75, rtol=1e-9)


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_chapelle_erhan_comes_close_with_many_probes(loss: str) -> None:
    at = Linearisation(network((4, 5, 3), 0), loss, inputs_for(8, 4, 1), targets_for(loss, 8, 3, 2))
    exact = flat(ExactDiagonal().diagonal(at))
    estimate = flat(ChapelleErhan(probes=3000).diagonal(at, torch.Generator().manual_seed(0)))
    assert np.linalg.norm(estimate - exact) < 0.02 * np.linalg.norm(exact)


def test_outputs_may_have_any_shape() -> None:
    """A convolution's, cases × channels × positions."""
    torch.manual_seed(0)
    model = nn.Conv1d(2, 3, 2, dtype=torch.float64)
    x = torch.randn(5, 2, 4, dtype=torch.float64)
    t = torch.rand(5, 3, 3, dtype=torch.float64)
    at = Linearisation(model, "logistic", x, t)
    np.testing.assert_allclose(
        flat(ExactDiagonal().diagonal(at)), dense_diagonal(model, "logistic", x, t), rtol=1e-9
    )  # fmt: skip


def test_it_costs_one_pass_per_output() -> None:
    ledger = Ledger()
    x, t = inputs_for(8, 4, 1), targets_for("logistic", 8, 3, 2)
    at = Linearisation(network((4, 5, 3), 0), "logistic", x, t, ledger=ledger)
    ExactDiagonal().diagonal(at)
    assert (ledger.squares, ledger.products) == (3 * 8, 0)
