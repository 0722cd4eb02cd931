"""The course of the learning rate: formulas, the end of the run, and resumption in its middle."""

from __future__ import annotations

import copy
import io
import math
from typing import Any

import pytest
import torch
from support.systems import inputs_for, network, targets_for
from torch import nn

from hfbench.errors import ConfigError
from hfbench.parts import Horizon, registry
from hfbench.solvers.optimizers.first_order import FirstOrder
from hfbench.solvers.optimizers.learning_rates import SCHEDULES, LearningRates, updates_of

CASES, SIZE = 40, 8
LOSS, MU = "logistic", (1e-2, 0.0, 1e-2, 0.0)


def rates(schedule: str, warmup: float, updates: int) -> list[float]:
    """The rate of each update, over the highest."""
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=2.0, momentum=0.9)
    (scheduler,) = LearningRates(schedule, warmup).begin([optimizer], updates)
    found = []
    for _ in range(updates):
        found.append(optimizer.param_groups[0]["lr"] / 2.0)
        optimizer.step()
        scheduler.step() if len(found) < updates else None
    return found


def formula(schedule: str, k: int, w: int, s: int) -> float:
    if k < w:
        return (k + 1) / (w + 1)
    share = (k - w) / (s - w)
    return {"constant": 1.0, "cosine": (1 + math.cos(math.pi * share)) / 2, "linear": 1 - share}[schedule]


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_the_rate_follows_its_formula(schedule: str, warmup: float) -> None:
    if schedule == "constant" and not warmup:
        assert LearningRates(schedule, warmup).begin([], 40) == []
        return
    w = round(warmup * 40)
    expected = [formula(schedule, k, w, 40) for k in range(40)]
    assert rates(schedule, warmup, 40) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_may_span_a_part_of_the_run_and_stays_where_it_ends(schedule: str) -> None:
    model, part = network((6, 5, 4), 0), {"use": "adamw", "minibatch": SIZE, "schedule": schedule, "warmup": 0.25}
    optimizer = registry.build("optimizer", {**part, "span": 0.4}).begin(model, LOSS, MU)
    optimizer.expect(Horizon({"iterations": 10}, CASES), torch.Generator().manual_seed(1))
    inputs, targets = inputs_for(CASES, 6, 0), targets_for(LOSS, CASES, 4, 0)
    found = []
    for _ in range(10):
        optimizer.step(inputs, targets)
        found.append(optimizer.inner.param_groups[0]["lr"])
    whole = LearningRates(schedule, 0.25).begin([torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1e-3, 0.9)], 20)
    last = [whole[0].optimizer.step() or whole[0].step() for _ in range(19)] and whole[0].get_last_lr()[0]
    assert found[3:] == pytest.approx([last] * 7)
    assert found[1] != pytest.approx(last) or schedule == "constant"


@pytest.mark.parametrize(("warmup", "top"), [(0.0, 0.3), (0.5, 0.5)])
def test_one_cycle_rises_to_the_rate_and_ends_near_zero(warmup: float, top: float) -> None:
    found = rates("one-cycle", warmup, 100)
    assert found[0] == pytest.approx(1 / 25)
    assert max(found) == pytest.approx(1.0, rel=1e-2)
    assert abs(found.index(max(found)) - 100 * top) <= 1
    assert found[-1] == pytest.approx(1 / 25e4, rel=1e-6)


@pytest.mark.parametrize(
    ("budget", "updates"),
    [
        *(({"passes": 30}, 30 * CASES / 24), ({"iterations": 7}, 35), ({"seconds": 3}, 300), ({"passes": 0.01}, 1)),
        *(({"passes": 30, "seconds": 0.2}, 20), ({"iterations": 2, "products": 5}, 10)),
    ],
)
def test_the_first_limit_ends_the_run(budget: dict[str, float], updates: float) -> None:
    assert updates_of(Horizon(budget, CASES), work=24.0, seconds=0.01, iteration=5) == round(updates)


def begun(horizon: Horizon | None, **settings: Any) -> tuple[FirstOrder, Any]:
    model = network((6, 5, 4), 0)
    part = registry.build("optimizer", {"use": "adamw", "minibatch": SIZE, **settings})
    optimizer: FirstOrder = part.begin(model, LOSS, MU)
    if horizon is not None:
        optimizer.expect(horizon, torch.Generator().manual_seed(1))
    return optimizer, (inputs_for(CASES, 6, 1), targets_for(LOSS, CASES, 4, 2))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_ends_where_its_budget_does_and_its_rate_with_it(schedule: str) -> None:
    optimizer, batch = begun(Horizon({"passes": 30}, CASES), schedule=schedule, warmup=0.2)
    weights = copy.deepcopy([w.detach().clone() for w in optimizer.weights])
    optimizer.prepare(*batch)
    assert optimizer.last_update == 50  # an update takes three units of 8 of 40 cases
    assert all(torch.equal(w, before) for w, before in zip(optimizer.weights, weights, strict=True))
    assert optimizer.ledger.work == 0
    for _ in range(12):  # two more than there are
        optimizer.step(*batch)
    assert optimizer.updates == 60
    rate = optimizer.inner.param_groups[0]["lr"] / 1e-3
    assert rate == pytest.approx(
        {"constant": 1, "cosine": 0.0015, "linear": 0.025, "one-cycle": 4e-6}[schedule], rel=0.1
    )


def test_seconds_are_estimated_by_a_copy_before_the_first_step() -> None:
    optimizer, batch = begun(Horizon({"seconds": 2.0}, CASES), schedule="cosine")
    optimizer.prepare(*batch)
    assert 100 < optimizer.last_update < 100_000


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_resumed_in_the_middle_equals_uninterrupted(schedule: str) -> None:
    horizon = Horizon({"passes": 30}, CASES)
    whole, batch = begun(horizon, schedule=schedule, warmup=0.3)
    for _ in range(3):
        whole.step(*batch)
    file = io.BytesIO()
    torch.save({"optimizer": whole.state_dict(), "model": whole.model.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    resumed, _ = begun(horizon, schedule=schedule, warmup=0.3)
    resumed.model.load_state_dict(state["model"])
    resumed.load_state_dict(state["optimizer"])
    for _ in range(4):
        assert whole.step(*batch) == resumed.step(*batch)
    assert all(torch.equal(one, other) for one, other in zip(whole.weights, resumed.weights, strict=True))


def test_a_schedule_asks_for_the_length_of_the_run() -> None:
    optimizer, batch = begun(None, schedule="cosine")
    with pytest.raises(ConfigError, match="schedule: must know how long the run is"):
        optimizer.step(*batch)
    with pytest.raises(ConfigError, match="must have passes, seconds or iterations"):
        begun(Horizon({"products": 100}, CASES), schedule="linear")
    begun(Horizon({"products": 100}, CASES))  # a constant rate needs none
