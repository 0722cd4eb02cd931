"""Adam, then L-BFGS: the steps of plain loops with torch's own classes, and a checkpoint in each half."""

from __future__ import annotations

import copy

import pytest
import torch
from support.systems import inputs_for, network, targets_for
from torch import Tensor, nn

from hfbench.parts import registry
from hfbench.solvers.optimizers.first_order import FirstOrder

LOSS, MU = "least-squares", (1e-2, 0.0, 1e-2, 0.0)
X, T = inputs_for(40, 6, 1), targets_for(LOSS, 40, 4, 2)
ADAM, BOTH = 6, 10  # updates of Adam, and outer iterations


def begun(model: nn.Module) -> FirstOrder:
    settings = {"use": "adam-lbfgs", "adam_updates": ADAM, "lr": 1e-2, "history": 5, "updates": 3}
    optimizer: FirstOrder = registry.build("optimizer", settings).begin(model, LOSS, MU)
    return optimizer


def objective(model: nn.Module) -> Tensor:
    squares = 0.5 * (model(X) - T).square().sum(1)
    return squares.mean() + 0.5 * sum(mu * p.square().sum() for mu, p in zip(MU, model.parameters(), strict=True) if mu)


def plain(model: nn.Module) -> list[float]:
    """f after each outer iteration of a loop as users write it."""
    weights = list(model.parameters())
    adam = torch.optim.Adam(weights, lr=1e-2)
    lbfgs = torch.optim.LBFGS(
        weights, max_iter=3, history_size=5, tolerance_grad=0, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        lbfgs.zero_grad()
        value = objective(model)
        value.backward()
        return value

    found = []
    for iteration in range(BOTH):
        if iteration < ADAM:
            closure()
            adam.step()
        else:
            lbfgs.step(closure)  # type: ignore[arg-type]
        found.append(objective(model).item())
    return found


def test_it_takes_the_steps_of_plain_loops() -> None:
    model = network((6, 5, 4), 0)
    theirs = plain(copy.deepcopy(model))
    optimizer, ours = begun(model), []
    for _ in range(BOTH):
        optimizer.step(X, T)
        ours.append(objective(model).item())
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=1e-9, atol=0)
    assert ours[-1] < ours[ADAM - 1] < ours[0]


@pytest.mark.parametrize("kept_after", [3, ADAM, 8])
def test_a_checkpoint_goes_on_in_either_half(kept_after: int) -> None:
    model = network((6, 5, 4), 0)
    optimizer = begun(model)
    for _ in range(kept_after):
        optimizer.step(X, T)
    other = copy.deepcopy(model)
    again = begun(other)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for _ in range(3):
        optimizer.step(X, T)
        again.step(X, T)
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_without_adam_it_is_lbfgs() -> None:
    first, second = network((6, 5, 4), 0), network((6, 5, 4), 0)
    one = registry.build("optimizer", {"use": "adam-lbfgs", "adam_updates": 0, "history": 20}).begin(first, LOSS, MU)
    other = registry.build("optimizer", "lbfgs").begin(second, LOSS, MU)
    for _ in range(3):
        one.step(X, T)
        other.step(X, T)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert one.ledger.work == other.ledger.work
