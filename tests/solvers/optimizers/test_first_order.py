"""Adam and L-BFGS against torch on the same objective, their cost, and exact resumption."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from support.systems import inputs_for, network, targets_for
from torch import Tensor, nn

from hfbench.curvature.objective import objective
from hfbench.errors import ConfigError
from hfbench.solvers.optimizers.adam import Adam
from hfbench.solvers.optimizers.first_order import FirstOrder
from hfbench.solvers.optimizers.lbfgs import LBFGS

LOSS, MU = "logistic", (1e-2, 0.0, 1e-2, 0.0)
PARTS = [Adam(lr=0.02, minibatch=8), LBFGS(updates=3)]


def problem() -> tuple[nn.Module, Tensor, Tensor]:
    return network((6, 5, 4), 0), inputs_for(20, 6, 1), targets_for(LOSS, 20, 4, 2)


def begun(part: Any) -> tuple[FirstOrder, Tensor, Tensor]:
    model, x, t = problem()
    return part.begin(model, LOSS, MU), x, t


def plain_objective(model: nn.Module, x: Tensor, t: Tensor) -> Tensor:
    """The same f written with torch's own loss."""
    loss = nn.functional.binary_cross_entropy_with_logits(model(x), t, reduction="none").sum(1).mean()
    return loss + 0.5 * sum(mu * p.square().sum() for mu, p in zip(MU, model.parameters(), strict=True))


def test_adam_takes_torchs_steps() -> None:
    optimizer, x, t = begun(PARTS[0])
    model, _, _ = problem()
    reference = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(3):
        optimizer.step(x, t)
        for start in (0, 8, 16):
            reference.zero_grad()
            plain_objective(model, x[start : start + 8], t[start : start + 8]).backward()
            reference.step()
    for ours, theirs in zip(optimizer.weights, model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("base", [torch.optim.SGD, torch.optim.LBFGS])
def test_an_optimizer_of_ones_own_is_told_f_with_its_decay(base: Any) -> None:
    class Told(base):  # type: ignore[misc]
        def step(self, closure: Any) -> Any:
            self.value = super().step(closure)
            return self.value

    model, x, t = problem()
    expected = plain_objective(model, x, t).item()
    optimizer = FirstOrder(model, LOSS, MU, lambda weights: [Told(weights, lr=0.1)])
    optimizer.step(x, t)
    assert optimizer.inner.value == pytest.approx(expected, rel=1e-12)  # type: ignore[attr-defined]


def test_lbfgs_takes_torchs_steps_and_counts_every_gradient() -> None:
    optimizer, x, t = begun(PARTS[1])
    model, _, _ = problem()
    reference = torch.optim.LBFGS(
        model.parameters(), max_iter=3, history_size=20, tolerance_grad=0, tolerance_change=0,
        line_search_fn="strong_wolfe",
    )  # fmt: skip
    calls = 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        reference.zero_grad()
        value = plain_objective(model, x, t)
        value.backward()
        return value

    for _ in range(4):
        optimizer.step(x, t)
        reference.step(closure)
    for ours, theirs in zip(optimizer.weights, model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)
    assert optimizer.ledger.work == 3 * len(x) * calls
    assert optimizer.ledger.products == 0


class Transposed(nn.Module):
    """A weight that the pass reads the other way round, in an order of memory of its own, and one it does not read."""

    def __init__(self, strided: bool) -> None:
        super().__init__()
        start = torch.linspace(-1, 1, 24, dtype=torch.float64)
        self.weight = nn.Parameter(start.reshape(6, 4).t() if strided else start.reshape(6, 4).t().contiguous())
        self.idle = nn.Parameter(torch.ones(3, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.t()


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("part", PARTS)
def test_order_of_memory_and_idle_weights(part: Any, strided: bool) -> None:
    """Fused kernels go through memory, not through rows; a weight without use decays all the same."""
    _, x, t = problem()
    one, other = (part.begin(Transposed(way), LOSS, (1e-2, 1e-2)) for way in (strided, False))
    for _ in range(3):
        one.step(x, t)
        other.step(x, t)
    torch.testing.assert_close(one.weights[0], other.weights[0], rtol=1e-10, atol=1e-12)
    assert not torch.equal(one.weights[1], torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("part", PARTS)
def test_the_recorded_gradient_is_of_f(part: Any) -> None:
    optimizer, x, t = begun(part)
    optimizer.minibatch = None
    model, _, _ = problem()
    plain_objective(model, x, t).backward()
    squared = sum(float(p.grad.square().sum()) for p in model.parameters())
    norms, values = [], []
    original = optimizer._objective

    def noted(*args: Any, **named: Any) -> float:
        value = original(*args, **named)
        norms.append(optimizer.gradient_norm)
        values.append(value)
        return value

    optimizer._objective = noted
    optimizer.step(x, t)
    assert norms[0] == pytest.approx(math.sqrt(squared), rel=1e-12)
    if not optimizer.decays:  # else the decay is no affair of a line search
        assert values[0] == pytest.approx(plain_objective(model, x, t).item(), rel=1e-12)


def test_adam_costs_three_units_per_case() -> None:
    optimizer, x, t = begun(PARTS[0])
    optimizer.step(x, t)
    assert optimizer.ledger.work == 3 * len(x)


@pytest.mark.parametrize("part", PARTS)
def test_the_objective_falls(part: Any) -> None:
    optimizer, x, t = begun(part)
    before = objective(optimizer.model, LOSS, x, t, MU)
    result = [optimizer.step(x, t) for _ in range(10)][-1].to_row()
    assert objective(optimizer.model, LOSS, x, t, MU) < before - 0.1
    assert result["gradient_norm"] > 0
    assert result["step_norm"] > 0


@pytest.mark.parametrize("part", PARTS)
def test_resumed_equals_uninterrupted(part: Any, tmp_path: Any) -> None:
    whole, x, t = begun(part)
    whole.step(x, t)
    torch.save({"optimizer": whole.state_dict(), "model": whole.model.state_dict()}, tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed, _, _ = begun(part)
    resumed.model.load_state_dict(state["model"])
    resumed.load_state_dict(state["optimizer"])
    for _ in range(2):
        assert whole.step(x, t) == resumed.step(x, t)
    for one, other in zip(whole.weights, resumed.weights, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("part", PARTS)
def test_evidence_is_refused(part: Any) -> None:
    optimizer, x, t = begun(part)
    with pytest.raises(ConfigError, match="does not measure variance_l1, which its scheduler needs"):
        optimizer.step(x, t, evidence=("variance_l1",))


@pytest.mark.parametrize("part", PARTS)
def test_what_does_not_fit_is_refused(part: Any) -> None:
    """As HessianFree does, with the weights as they were."""
    optimizer, x, t = begun(part)
    before = [w.clone() for w in optimizer.weights]
    for inputs, targets, message in (
        (x, 3 * t - 1, r"targets: must lie in \[0, 1\]"),
        (x, t[:, :1], "targets: must have the shape"),
        (x, t + 0j, "targets: must be real"),
        (x.long(), t, r"use inputs.to\(torch.float64\)"),
        (x.to_sparse(), t, "inputs: must be a dense tensor"),
    ):
        with pytest.raises(ConfigError, match=message):
            optimizer.step(inputs, targets)
    assert all(torch.equal(w, old) for w, old in zip(optimizer.weights, before, strict=True))
    with pytest.raises(ConfigError, match='take loss="softmax"'):
        part.begin(problem()[0], nn.CrossEntropyLoss(), MU)


def test_numbers_of_other_libraries_are_numbers() -> None:
    assert Adam(lr=np.float32(0.5), minibatch=np.int64(8)) == Adam(lr=0.5, minibatch=8)
    assert LBFGS(history=torch.tensor(3)) == LBFGS(history=3)


def test_a_step_too_long_ends_in_what_is_not_finite() -> None:
    optimizer, x, t = begun(Adam(lr=1e300, minibatch=4))
    optimizer.step(x, t)
    optimizer.step(x, t)
    assert not math.isfinite(objective(optimizer.model, LOSS, x, t, MU))
