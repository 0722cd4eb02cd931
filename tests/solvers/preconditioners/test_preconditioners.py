"""The diagonals against dense matrices, the factors against each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.systems import dense_hessian, dense_jacobian, flat, inputs_for, network, targets_for

from hfbench import registry
from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.work_ledger import Ledger
from hfbench.errors import NonFiniteError
from hfbench.linalg.vector import Vector
from hfbench.solvers.preconditioners.chapelle_erhan import ChapelleErhan
from hfbench.solvers.preconditioners.diagonal import Diagonal
from hfbench.solvers.preconditioners.martens import Martens

LOSS_NAMES = ["least-squares", "logistic", "softmax"]


def problem(loss: str, cases: int = 8):
    model, x, t = network((4, 5, 3), 0), inputs_for(cases, 4, 1), targets_for(loss, cases, 3, 2)
    return model, x, t, Linearisation(model, loss, x, t)


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_chapelle_erhan_is_unbiased(loss: str) -> None:
    """The mean over many draws approaches diag(G), within four standard errors of every entry's mean."""
    model, x, t, at = problem(loss)
    J, H = dense_jacobian(model, x), dense_hessian(loss, model(x), t)
    exact = torch.diagonal(J.T @ H @ J).detach().numpy() / len(x)
    generator, one = torch.Generator().manual_seed(3), ChapelleErhan()
    draws = np.stack([flat(one.diagonal(at, generator)) for _ in range(2000)])
    error = np.abs(draws.mean(0) - exact) / (draws.std(0) / 2000**0.5 + 1e-10 * exact)
    assert np.quantile(error, 0.99) < 4
    assert np.linalg.norm(draws.mean(0) - exact) < 0.02 * np.linalg.norm(exact)
    assert np.linalg.norm(draws[0] - exact) > 0.02 * np.linalg.norm(exact), "a single draw is an estimate"


def test_more_probes_have_less_variance() -> None:
    *_, at = problem("logistic")
    spread = {
        probes: np.stack(
            [flat(ChapelleErhan(probes=probes).diagonal(at, torch.Generator().manual_seed(s))) for s in range(200)]
        )
        .var(0)
        .sum()
        for probes in (1, 8)
    }
    assert spread[8] == pytest.approx(spread[1] / 8, rel=0.4)


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_martens_is_the_damped_mean_square(loss: str) -> None:
    model, x, t, at = problem(loss)
    per_case = np.stack([flat(Linearisation(model, loss, x[i : i + 1], t[i : i + 1]).gradient) for i in range(len(x))])
    shift = (0.3, 0.2, 0.3, 0.2)
    M = Martens(exponent=0.75).build(at, shift, torch.Generator())
    full = flat(Vector(torch.full_like(b, s) for b, s in zip(at.parameters, shift, strict=True)))
    ones = Vector(torch.ones_like(b) for b in at.parameters)
    np.testing.assert_allclose(1 / flat(M.solve(ones)), ((per_case**2).mean(0) + full) ** 0.75, rtol=1e-10)


@pytest.mark.parametrize("name", ["identity", "martens", "chapelle-erhan", "exact-diagonal"])
def test_factors_are_one_symmetric_positive_matrix(name: str) -> None:
    *_, at = problem("logistic")
    M = registry.build("preconditioner", name).build(at, (0.3, 0.2, 0.3, 0.2), torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    v, w = (Vector(torch.randn(b.shape, generator=generator, dtype=b.dtype) for b in at.parameters) for _ in range(2))
    np.testing.assert_allclose(flat(M.solve_factor_t(M.solve_factor(v))), flat(M.solve(v)), rtol=1e-12)
    assert M.solve(v).dot(w) == pytest.approx(v.dot(M.solve(w)))
    assert M.solve(v).dot(v) > 0


def test_same_generator_same_draws() -> None:
    *_, at = problem("softmax")
    first, second = (ChapelleErhan().diagonal(at, torch.Generator().manual_seed(7)) for _ in range(2))
    assert np.array_equal(flat(first), flat(second))


def test_cost_is_one_pass_per_probe() -> None:
    model, x, t, _ = problem("logistic")
    ledger = Ledger()
    at = Linearisation(model, "logistic", x, t, ledger=ledger)
    ChapelleErhan(probes=3).diagonal(at, torch.Generator().manual_seed(0))
    assert ledger.squares == 3 * len(x)
    assert ledger.products == 0


def test_a_diagonal_that_is_not_positive_is_refused() -> None:
    with pytest.raises(NonFiniteError, match="larger damping"):
        Diagonal(Vector([torch.zeros(3)]), (0.0,), 0.75)
    with pytest.raises(NonFiniteError, match="positive"):
        Diagonal(Vector([torch.tensor([1.0, float("nan")])]), (0.1,), 0.75)
