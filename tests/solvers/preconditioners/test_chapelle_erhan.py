"""Chapelle and Erhan's diagonal: unbiased, less spread with more probes, one pass for each."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.systems import dense_hessian, dense_jacobian, flat, inputs_for, network, targets_for

from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.work_ledger import Ledger
from hfbench.solvers.preconditioners.chapelle_erhan import ChapelleErhan

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
