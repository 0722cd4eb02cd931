"""What torch.optim keeps: saved and loaded whole or not at all, copied with the model, and no learning rate in it."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support.systems import inputs_for, network, targets_for
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR

from hfbench import HessianFree
from hfbench.errors import ConfigError

DTYPE = torch.float64
LOSS = "least-squares"


def batch() -> tuple[Tensor, Tensor]:
    return inputs_for(12, 4, 1), targets_for(LOSS, 12, 2, 2)


def after(steps: int, sizes: tuple[int, ...] = (4, 3, 2), **settings: Any) -> tuple[nn.Sequential, HessianFree]:
    model = network(sizes, 0)
    optimizer = HessianFree(model, LOSS, preconditioner="chapelle-erhan", **settings)
    for _ in range(steps):
        optimizer.step(*batch())
    return model, optimizer


# ---------------------------------------------------------------- groups and schedulers


@pytest.mark.parametrize(
    "schedule",
    [
        lambda optimizer: lr_scheduler.StepLR(optimizer, 1),
        lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 10),
        lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda _: 1.0),
        lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer),
        lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, 10, cycle_momentum=False),
        lambda optimizer: SWALR(optimizer, 0.1),
    ],
)
@pytest.mark.parametrize("loaded", [False, True])
def test_learning_rate_schedulers_are_told_that_there_is_none(schedule: Callable[[Any], Any], loaded: bool) -> None:
    _, optimizer = after(1)
    if loaded:
        optimizer.load_state_dict(optimizer.state_dict())
    with pytest.raises(ConfigError, match="no learning rate"):
        schedule(optimizer)
    with pytest.raises(KeyError, match="momentum"):
        optimizer.param_groups[0]["momentum"]


def test_no_group_is_added_later() -> None:
    _, optimizer = after(0)
    more = nn.Linear(2, 2, dtype=DTYPE)
    with pytest.raises(ConfigError, match="one system for all trained parameters.*requires_grad"):
        optimizer.add_param_group({"params": more.parameters()})
    assert len(optimizer.param_groups) == 1


def test_the_usual_calls_around_a_step_do_no_harm() -> None:
    """zero_grad before, hooks around it, and gradients that somebody else keeps."""
    model, optimizer = after(0)
    calls = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    x, t = batch()
    nn.functional.mse_loss(model(x), t).backward()
    kept = [p.grad.clone() for p in model.parameters()]
    optimizer.step(x, t)
    assert all(torch.equal(p.grad, one) for p, one in zip(model.parameters(), kept, strict=True))
    optimizer.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    optimizer.step(x, t)
    assert calls == ["before", "after"] * 2
    assert "damping" in repr(optimizer)


# ---------------------------------------------------------------- saved and loaded


def through_a_file(given: Any) -> Any:
    file = io.BytesIO()
    torch.save(given, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_fresh_optimizer_continues_bit_for_bit(steps: int) -> None:
    model, optimizer = after(steps)
    saved = through_a_file({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    rows = [optimizer.step(*batch()).to_row() for _ in range(3)]
    again, resumed = after(0, seed=99)
    again.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    assert [resumed.step(*batch()).to_row() for _ in range(3)] == rows
    assert all(torch.equal(p, q) for p, q in zip(again.parameters(), model.parameters(), strict=True))


def spoilt(**changes: Any) -> Callable[[], Any]:
    def make() -> Any:
        saved = after(2)[1].state_dict()
        saved["param_groups"][0].update(changes)
        return saved

    return make


def without_a_block() -> Any:
    saved = after(2)[1].state_dict()
    del saved["state"][1]
    return saved


def with_a_block_of_another_shape() -> Any:
    saved = after(2)[1].state_dict()
    saved["state"][1] = {"warm_start": torch.zeros(7)}
    return saved


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.optim.Adam(network((4, 3, 2), 0).parameters()).state_dict(), "has lr, betas.*is it another"),
        (lambda: network((4, 3, 2), 0).state_dict(), "must come from HessianFree.state_dict"),
        (dict, "must come from HessianFree.state_dict"),
        (lambda: None, "has NoneType"),
        (lambda: after(1, (4, 3, 3, 2))[1].state_dict(), "must be for parameters of the shapes"),
        (lambda: HessianFree(network((4, 5, 2), 0), LOSS).state_dict(), r"but is for \[\[5, 4\]"),
        (spoilt(damping="45"), "damping must lie in"),
        (spoilt(damping=torch.nan), "damping must lie in"),
        (spoilt(iteration=-1), "iteration must be"),
        (spoilt(generator=torch.zeros(3, dtype=torch.uint8)), "generator must be the state of a CPU generator"),
        (spoilt(generator=None), "generator must be the state of a CPU generator"),
        (without_a_block, "state must be empty or have an entry per parameter"),
        (with_a_block_of_another_shape, "warm_start must have the parameters' shapes"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_nothing_of_it_loaded(make: Callable[[], Any], message: str) -> None:
    model, optimizer = after(2)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ConfigError, match=f"state_dict: .*{message}"):
        optimizer.load_state_dict(make())
    now = optimizer.state_dict()
    for key in ("damping", "iteration", "shapes", "params"):
        assert now["param_groups"][0][key] == before["param_groups"][0][key]
    assert torch.equal(optimizer.generator.get_state(), before["param_groups"][0]["generator"])
    for i, kept in before["state"].items():
        assert torch.equal(now["state"][i]["warm_start"], kept["warm_start"])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))], ids=["copy", "pickle"])
@pytest.mark.parametrize("layout", ["structured", "flat"])
def test_a_copy_goes_on_by_itself_with_a_model_of_its_own(copied: Callable[[Any], Any], layout: str) -> None:
    model, optimizer = after(2, layout=layout)
    twin = copied(optimizer)
    assert twin.model is not model
    before = [p.clone() for p in model.parameters()]
    rows = [twin.step(*batch()).to_row() for _ in range(2)]
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert [optimizer.step(*batch()).to_row() for _ in range(2)] == rows
    assert all(torch.equal(p, q) for p, q in zip(twin.model.parameters(), model.parameters(), strict=True))
    assert twin.ledger == optimizer.ledger
    with pytest.raises(ConfigError, match="no learning rate"):
        lr_scheduler.StepLR(twin, 1)


def test_a_copy_together_with_its_model_trains_that_model() -> None:
    model, optimizer = after(1)
    both = copy.deepcopy({"model": model, "optimizer": optimizer})
    before = both["model"][0].weight.detach().numpy().copy()
    both["optimizer"].step(*batch())
    assert not np.array_equal(both["model"][0].weight.detach().numpy(), before)
