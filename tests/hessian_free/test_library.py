"""HessianFree in somebody's own loop: it leaves no trace but the step, errors undo it, nothing piles up."""

from __future__ import annotations

import copy
import gc
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.systems import inputs_for, network, targets_for
from torch import Tensor, nn

from hfbench import HessianFree
from hfbench.curvature.linearisation import Linearisation
from hfbench.errors import ConfigError, NonFiniteError

DTYPE = torch.float64
LOSS = "least-squares"
PRECONDITIONERS = ["identity", "martens", "chapelle-erhan"]


def batch(dtype: torch.dtype = DTYPE) -> tuple[Tensor, Tensor]:
    return inputs_for(12, 4, 1, dtype), targets_for(LOSS, 12, 2, 2, dtype)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


# ---------------------------------------------------------------- whatever the process is set to

DEFAULTS: list[tuple[str, torch.dtype]] = [("meta", torch.float32), ("cpu", torch.float64), ("cpu", torch.float16)]
WAYS: list[dict[str, Any]] = [
    *({"solver": solver} for solver in ("cg", "lsmr", "lsqr", "minres")),
    {"solver": "dense", "preconditioner": "identity"},
    *({"preconditioner": name} for name in (*PRECONDITIONERS, "exact-diagonal", "kfac")),
    {"chunk": 5}, {"layout": "flat"}, {"max_bytes": "1MB"}, {"precision": "float64"},
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_default_device_and_dtype_change_nothing(way: dict[str, Any]) -> None:
    x, t = batch(torch.float32)
    found = []
    for device, dtype in [("cpu", torch.float32), *DEFAULTS]:
        model = nn.Sequential(network((4, 3), 0), nn.Tanh(), nn.Linear(3, 2)).float()
        nn.init.constant_(model[2].weight, 0.1)
        nn.init.zeros_(model[2].bias)
        torch.set_default_device(device)
        torch.set_default_dtype(dtype)
        try:
            optimizer = HessianFree(model, LOSS, **way)
            for _ in range(2):
                optimizer.step(x, t, evidence=("variance_l1", "variance_inner"))
            optimizer.load_state_dict(optimizer.state_dict())
        finally:
            torch.set_default_device(None)
            torch.set_default_dtype(torch.float32)
        found.append(model)
    assert all(same(model, found[0]) for model in found)


# ---------------------------------------------------------------- the trained part


def test_frozen_parameters_are_no_part_of_the_system() -> None:
    """The last layer alone is a linear least-squares problem on the frozen features."""
    model, (x, t) = network((4, 3, 2), 0), batch()
    model[0].requires_grad_(False)
    frozen = copy.deepcopy(model[0])
    settings = {"rules": [{"use": "residual", "rtol": 1e-13}], "globalization": {"initial_damping": 0.0}}
    optimizer = HessianFree(model, LOSS, preconditioner="identity", **settings)
    assert sum(p.numel() for p in optimizer.param_groups[0]["params"]) == 3 * 2 + 2
    optimizer.step(x, t)
    features = torch.cat([torch.tanh(frozen(x)), torch.ones(12, 1, dtype=DTYPE)], 1).detach()
    exact = torch.linalg.lstsq(features, t).solution
    torch.testing.assert_close(torch.cat([model[2].weight.T, model[2].bias[None]]), exact, rtol=1e-8, atol=1e-9)
    assert same(model[0], frozen)
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True]


def test_a_parameter_without_entries_and_one_without_dimensions() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.empty, self.scale = nn.Parameter(torch.empty(0)), nn.Parameter(torch.ones(()))
            self.layer = nn.Linear(4, 2)
            self.to(DTYPE)

        def forward(self, x: Tensor) -> Tensor:
            return self.scale * self.layer(x)

    torch.manual_seed(0)
    for layout in ("structured", "flat"):
        for preconditioner in PRECONDITIONERS:
            optimizer = HessianFree(Scaled(), LOSS, solver="lsmr", preconditioner=preconditioner, layout=layout)
            result = optimizer.step(*batch(), evidence=["variance_l1"])
            assert result.objective_after < result.objective_before


# ---------------------------------------------------------------- it leaves no trace


@pytest.mark.parametrize("solver", ["cg", "lsmr", "lsqr"])
@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
def test_modes_gradients_generators_and_hooks_are_left_as_they_were(solver: str, preconditioner: str) -> None:
    model, (x, t) = network((4, 3, 2), 0), batch()
    model[0].eval()
    modes = [module.training for module in model.modules()]
    hooks = [len(module._forward_hooks) for module in model.modules()]
    optimizer = HessianFree(model, LOSS, solver=solver, preconditioner=preconditioner)
    state = torch.get_rng_state()
    for grad_mode in (True, False):
        with torch.set_grad_enabled(grad_mode):
            optimizer.step(x, t)
            assert torch.is_grad_enabled() == grad_mode
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert all(p.grad is None and p.requires_grad and p.is_leaf for p in model.parameters())
    assert (x.grad, t.grad) == (None, None)


def test_inputs_and_targets_that_carry_graphs() -> None:
    """Another network's features and outputs, as they come: their graphs are left alone."""
    torch.manual_seed(0)
    teacher, (x, _) = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)).to(DTYPE), batch()
    features = teacher[0](x)
    targets = teacher[1](features)
    models = [network((4, 3, 2), 0) for _ in range(2)]
    HessianFree(models[0], LOSS).step(features, targets, (features, targets))
    HessianFree(models[1], LOSS).step(features.detach(), targets.detach(), (features.detach(), targets.detach()))
    assert same(*models)
    assert all(p.grad is None for p in teacher.parameters())


def test_forward_hooks_are_called_and_nothing_more() -> None:
    model, plain, seen = network((4, 3, 2), 0), network((4, 3, 2), 0), []
    model[0].register_forward_hook(lambda *_: seen.append(1))
    for one in (model, plain):
        HessianFree(one, LOSS).step(*batch())
    assert same(model, plain)
    assert seen


# ---------------------------------------------------------------- errors undo a step


class Interrupted(nn.Module):
    """A network whose forward pass raises at the n-th call from now."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.network, self.left, self.error = network((4, 3, 2), 0), math.inf, error

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left < 0:
            self.left = math.inf
            raise self.error
        return self.network(x)


@pytest.mark.parametrize("solver", ["cg", "lsmr"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_step_that_is_broken_off_anywhere_never_was(solver: str, error: type[BaseException]) -> None:
    rules = [{"use": "fixed-iterations", "iterations": 6}]
    settings = {"solver": solver, "preconditioner": "chapelle-erhan", "chunk": 7, "rules": rules}
    model, plain = Interrupted(error), Interrupted(error)
    optimizer, other = (HessianFree(one, LOSS, **settings) for one in (model, plain))
    for one in (optimizer, other):
        one.step(*batch())
    passes = 0
    while True:
        model.left = passes
        before, state = copy.deepcopy(model.network), copy.deepcopy(optimizer.state_dict())
        try:
            last = optimizer.step(*batch())
        except error:
            passes += 1
        else:
            break
        assert same(model.network, before)
        now = optimizer.state_dict()
        assert now["param_groups"][0]["damping"] == state["param_groups"][0]["damping"]
        assert now["param_groups"][0]["iteration"] == 1
        assert torch.equal(now["param_groups"][0]["generator"], state["param_groups"][0]["generator"])
        for i, kept in state["state"].items():
            assert torch.equal(now["state"][i]["warm_start"], kept["warm_start"])
    assert passes > 10, "solve, backtracking and line search are all among them"
    assert last.to_row() == other.step(*batch()).to_row()
    assert same(model.network, plain.network)


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda x, t: (x, t * math.nan), NonFiniteError),
        (lambda x, t: (x * math.inf, t), NonFiniteError),
        (lambda x, t: (x, t[:, :1]), ConfigError),
        (lambda x, t: (x, t, (x, t * math.nan)), NonFiniteError),
        (lambda x, t: (x[:, :2], t), RuntimeError),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_good_step_after_a_bad_one(
    spoil: Callable[[Tensor, Tensor], tuple[Any, ...]], error: type[Exception], first: bool
) -> None:
    models = [network((4, 3, 2), 0) for _ in range(2)]
    disturbed, undisturbed = (HessianFree(one, LOSS, preconditioner="chapelle-erhan") for one in models)
    if not first:
        disturbed.step(*batch())
        undisturbed.step(*batch())
    with pytest.raises(error):
        disturbed.step(*spoil(*batch()))
    for _ in range(2):
        assert disturbed.step(*batch()).to_row() == undisturbed.step(*batch()).to_row()
    assert same(*models)


# ---------------------------------------------------------------- nothing piles up


def tensors() -> int:
    return sum(issubclass(type(one), Tensor) for one in gc.get_objects())


@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
@pytest.mark.parametrize("chunk", [None, 5])
@pytest.mark.parametrize("kind", ["dense", "recurrent"])
def test_no_tensor_outlives_its_step(preconditioner: str, chunk: int | None, kind: str) -> None:
    """Even without a garbage collection: nothing waits in a cycle with the graph's memory."""

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.out = nn.LSTM(2, 3, batch_first=True, dtype=DTYPE), nn.Linear(3, 2, dtype=DTYPE)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.layer(x.reshape(-1, 2, 2))[0][:, -1])

    torch.manual_seed(0)
    model, (x, t) = network((4, 3, 2), 0) if kind == "dense" else Last(), batch()
    settings = {"solver": "lsmr", "chunk": chunk, "rules": [{"use": "fixed-iterations", "iterations": 5}]}
    optimizer = HessianFree(model, LOSS, preconditioner=preconditioner, **settings)
    for _ in range(2):
        optimizer.step(x, t, evidence=["variance_l1"])
    gc.collect()
    gc.disable()
    try:
        alive = tensors()
        for _ in range(4):
            optimizer.step(x, t, evidence=["variance_l1"])
        assert tensors() <= alive
    finally:
        gc.enable()


def test_a_failed_step_leaves_no_graph() -> None:
    model, (x, t) = network((4, 3, 2), 0), batch()
    optimizer = HessianFree(model, LOSS)
    optimizer.step(x, t)
    gc.collect()
    alive = tensors()
    for _ in range(3):
        with pytest.raises(NonFiniteError):
            optimizer.step(x, t * math.nan)
    gc.collect()
    assert tensors() <= alive


# ---------------------------------------------------------------- kinds of data


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", ["least-squares", "logistic", "softmax"])
def test_precisions_and_losses(dtype: torch.dtype, loss: str) -> None:
    model, x, t = network((4, 5, 3), 0, dtype), inputs_for(12, 4, 1, dtype), targets_for(loss, 12, 3, 2, dtype)
    optimizer = HessianFree(model, loss)
    results = [optimizer.step(x, t) for _ in range(4)]
    assert results[-1].objective_after < results[0].objective_before
    assert all(p.dtype == dtype for p in model.parameters())


def test_the_linearisation_of_a_wrong_model_is_refused_as_well() -> None:
    x, t = batch()
    with pytest.raises(ConfigError, match="outputs must be one tensor"):
        Linearisation(nn.LSTM(4, 2, dtype=DTYPE), LOSS, x, t)


@pytest.mark.gpu
def test_no_gpu_memory_piles_up() -> None:
    model, x, t = network((4, 3, 2), 0).cuda(), *(one.cuda() for one in batch())
    optimizer = HessianFree(model, LOSS, solver="lsmr")
    optimizer.step(x, t)
    held = torch.cuda.memory_allocated()
    for _ in range(4):
        optimizer.step(x, t)
    assert torch.cuda.memory_allocated() <= held
