"""Every baseline against a plain loop written with its own package, and its work against passes that hooks count."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.systems import inputs_for, network, targets_for
from torch import Tensor, nn
from torch.optim import Optimizer

from hfbench.parts import Horizon, registry
from hfbench.solvers.optimizers.first_order import FirstOrder

LOSS, MU = "least-squares", (1e-2, 0.0, 1e-2, 0.0)
CASES, SIZE, UPDATES = 40, 8, 50
po = pytest.importorskip("pytorch_optimizer")

Make = Callable[[list[nn.Parameter]], list[Optimizer]]


def split(weights: list[nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    return [w for w in weights if w.dim() == 2], [w for w in weights if w.dim() != 2]


# Each with what its authors' loop constructs; None where the loop is Adam's with the decay in the gradient.
PLAIN: dict[str, tuple[dict[str, Any], Make]] = {
    "sgd": ({"lr": 0.01}, lambda w: [torch.optim.SGD(w, lr=0.01, momentum=0.9, nesterov=True)]),
    "adam": ({"lr": 0.01}, lambda w: [torch.optim.Adam(w, lr=0.01)]),
    "adamw": ({"lr": 0.01}, lambda w: [torch.optim.AdamW(w, lr=0.01, weight_decay=1e-4)]),
    "nadamw": (
        {"lr": 0.01, "schedule": "constant", "warmup": 0.0},
        lambda w: [torch.optim.NAdam(w, lr=0.01, weight_decay=1e-4, decoupled_weight_decay=True)],
    ),
    "muon": (
        {"lr": 0.01},
        lambda w: [
            torch.optim.Muon(split(w)[0], lr=0.01, weight_decay=1e-4),
            torch.optim.AdamW(split(w)[1], lr=1e-3, weight_decay=1e-4),
        ],
    ),
    "soap": ({"lr": 0.01}, lambda w: [po.SOAP(w, lr=0.01, weight_decay=1e-4)]),
    "shampoo": (
        {"lr": 0.01, "start": 5},
        lambda w: [
            po.ScalableShampoo(
                w, lr=0.01, weight_decay=1e-4, decoupled_weight_decay=True, preconditioning_compute_steps=10,
                start_preconditioning_step=5, graft_type=3,
            )
        ],
    ),
    "sophia": ({"lr": 0.01}, lambda w: [po.SophiaH(w, lr=0.01, weight_decay=1e-4)]),
    "adahessian": ({"lr": 0.05}, lambda w: [po.AdaHessian(w, lr=0.05, weight_decay=1e-4)]),
    "schedule-free": ({"lr": 0.01}, lambda w: [po.ScheduleFreeAdamW(w, lr=0.01, weight_decay=1e-4, warmup_steps=50)]),
}  # fmt: skip
SECOND = ("sophia", "adahessian")  # take products with the Hessian


def problem(dtype: torch.dtype) -> tuple[nn.Module, Tensor, Tensor]:
    model = network((6, 5, 4), 0).to(dtype)
    return model, inputs_for(CASES, 6, 1).to(dtype), targets_for(LOSS, CASES, 4, 2).to(dtype)


def plain_objective(model: nn.Module, x: Tensor, t: Tensor) -> Tensor:
    squares = 0.5 * (model(x) - t).square().sum(1)
    return squares.mean() + 0.5 * sum(mu * p.square().sum() for mu, p in zip(MU, model.parameters(), strict=True) if mu)


def plain_losses(make: Make, model: nn.Module, x: Tensor, t: Tensor, updates: int, graph: bool) -> list[float]:
    """f of all cases after each update of a loop as the package's authors write it."""
    weights = list(model.parameters())
    optimizers, losses = make(weights), []
    for update in range(updates):
        start = SIZE * update % CASES
        for optimizer in optimizers:
            optimizer.zero_grad()
            getattr(optimizer, "train", lambda: None)()
        value = plain_objective(model, x[start : start + SIZE], t[start : start + SIZE])
        grads = torch.autograd.grad(value, weights, create_graph=graph)
        for w, g in zip(weights, grads, strict=True):
            w.grad = g
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        for optimizer in optimizers:
            getattr(optimizer, "eval", lambda: None)()
        losses.append(plain_objective(model, x, t).item())
    return losses


def begun(name: str, model: nn.Module, **settings: Any) -> FirstOrder:
    part = registry.build("optimizer", {"use": name, "minibatch": SIZE, **settings})
    optimizer: FirstOrder = part.begin(model, LOSS, MU)
    return optimizer


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=str)
@pytest.mark.parametrize("name", PLAIN)
def test_a_baseline_takes_the_steps_of_a_plain_loop(name: str, dtype: torch.dtype, tolerance: float) -> None:
    settings, make = PLAIN[name]
    model, x, t = problem(dtype)
    other = copy.deepcopy(model)
    optimizer = begun(name, model, **settings)
    optimizer.expect(Horizon({"passes": 10}, CASES), torch.Generator().manual_seed(3))
    seed = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(3)))
    ours = []
    for update in range(UPDATES):
        start = SIZE * update % CASES
        optimizer.step(x[start : start + SIZE], t[start : start + SIZE])
        ours.append(plain_objective(model, x, t).item())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        theirs = plain_losses(make, other, x, t, UPDATES, graph=name in SECOND)
    assert theirs[-1] < theirs[0]
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=tolerance, atol=0)


@pytest.mark.parametrize("name", [*PLAIN, "lbfgs"])
def test_counted_work_is_work_done(name: str) -> None:
    """Hooks count what passes through the model: cases forward, and derivatives that come back through its outputs."""
    model, x, t = problem(torch.float64)
    passed = {"forward": 0, "back": 0}

    def note(kind: str, n: int) -> None:
        passed[kind] += n

    def watch(module: nn.Module, inputs: Any, outputs: Tensor) -> None:
        note("forward", len(outputs))
        if outputs.requires_grad:
            outputs.register_hook(lambda u: note("back", len(u)))

    optimizer = (
        registry.build("optimizer", "lbfgs").begin(model, LOSS, MU)
        if name == "lbfgs"
        else begun(name, model, schedule="constant", warmup=0.0)
    )
    model.register_forward_hook(watch)
    for _ in range(3):
        optimizer.step(x, t)
    products = passed["back"] - passed["forward"]  # a product with the Hessian comes back once more
    assert (products > 0) is (name in SECOND)
    assert passed["forward"] >= 3 * CASES
    assert optimizer.ledger.work == 3 * passed["forward"] + 6 * products
    assert optimizer.ledger.products == 0
