"""Large features in float32: every solver makes progress, or one warning names the features."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import hfbench
from hfbench.errors import NonFiniteError

CASES = 200


def batch(largest: float) -> tuple[Tensor, Tensor]:
    """Three features, the first one of this size and without a part in the targets."""
    generator = torch.Generator().manual_seed(0)
    plain = torch.randn(CASES, 2, generator=generator)
    x = torch.cat([largest * torch.rand(CASES, 1, generator=generator), plain], 1)
    return x, (0.3 * plain[:, :1] - plain[:, 1:] + 1)


def network(hidden: int) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    layers = [nn.Linear(3, hidden), nn.ReLU(), nn.Linear(hidden, 1)] if hidden else [nn.Linear(3, 1)]
    model = nn.Sequential(*layers)
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5, generator=generator)
    return model


@pytest.mark.parametrize("largest", [1e9, 1e12, 1e15])
@pytest.mark.parametrize("solver", ["cg", "minres", "lsmr", "lsqr", "dense"])
def test_every_solver_makes_progress_on_large_features(solver: str, largest: float) -> None:
    optimizer = hfbench.HessianFree(network(0), "least-squares", solver=solver, preconditioner="identity")
    results = [optimizer.step(*batch(largest)) for _ in range(5)]
    assert results[-1].objective_after < 1e-6 * results[0].objective_before


@pytest.mark.parametrize("solver", ["cg", "dense"])
def test_steps_that_move_nothing_name_large_features_and_the_remedy_once(solver: str) -> None:
    optimizer = hfbench.HessianFree(network(8), "least-squares", solver=solver, preconditioner="identity")
    with pytest.warns(
        UserWarning, match=r"^3 steps left .* features reach 1e\+12.*far beyond lambda\. Standardise"
    ) as warned:
        results = [optimizer.step(*batch(1e12)) for _ in range(5)]
    assert not any(result.step_norm for result in results)
    assert len(warned) == 1


def test_a_loss_that_overflows_names_the_features() -> None:
    optimizer = hfbench.HessianFree(network(0), "least-squares", solver="cg", preconditioner="identity")
    with pytest.raises(NonFiniteError, match=r"Features reach 1e\+20 in size\. Standardise"):
        optimizer.step(*batch(1e20))


def test_a_gradient_that_overflows_names_the_features() -> None:
    model = network(0)
    nn.init.zeros_(model[0].weight)  # the outputs are finite
    optimizer = hfbench.HessianFree(model, "least-squares", solver="cg", preconditioner="identity")
    x, t = batch(3e38)
    with pytest.raises(NonFiniteError, match=r"gradient must be finite.*Features reach 3e\+38 in size\. Standardise"):
        optimizer.step(x, 1e3 * t)


def test_steps_that_move_nothing_on_plain_features_are_no_ones_fault() -> None:
    globalization = {"warm_start": 0.0, "max_tries": 1, "armijo": 0.999}
    optimizer = hfbench.HessianFree(network(8), "least-squares", solver="cg", globalization=globalization)
    results = [optimizer.step(*batch(1.0)) for _ in range(4)]  # warnings are errors
    assert not any(result.step_norm for result in results)
