"""What a look at a model does not show, a trial on a few cases does: noise, memory, coupled cases, wrong products."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.systems import inputs_for, network, targets_for
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

import hfbench.hessian_free.model_guard
from hfbench import HessianFree
from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.model_trial import check_products
from hfbench.errors import ConfigError, NonFiniteError

DTYPE = torch.float64
LOSS = "least-squares"


def batch(cases: int = 12, features: int = 4) -> tuple[Tensor, Tensor]:
    return inputs_for(cases, features, 1), targets_for(LOSS, cases, 2, 2)


class With(nn.Module):
    """Two dense layers with a function of (module, hidden units) between them."""

    def __init__(self, inside: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.inside = nn.Linear(4, 5), nn.Linear(5, 2), inside
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.noise = torch.Generator().manual_seed(0)
        self.count = 0
        self.to(DTYPE)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.inside(self, torch.tanh(self.first(x))))


def counted(model: With, a: Tensor) -> Tensor:
    model.calls += 1
    return a


def counted_anew(model: With, a: Tensor) -> Tensor:
    model.calls = model.calls + 1
    return a


def seldom(model: With, a: Tensor) -> Tensor:
    """A layer that is dropped once in a million: two passes agree, and yet it draws."""
    return a if torch.rand(()) > 1e-6 else 0 * a


def remembering(model: With, a: Tensor) -> Tensor:
    model.count += 1
    return a + model.count


FAULTS: dict[str, tuple[Callable[[With, Tensor], Tensor], str]] = {
    "functional dropout": (lambda m, a: functional.dropout(a), "two passes .* gave different outputs.*self.training"),
    "noise": (lambda m, a: a + 1e-9 * torch.randn_like(a), "gave different outputs"),
    "noise of its own": (lambda m, a: a + torch.rand(5, generator=m.noise, dtype=DTYPE), "gave different outputs"),
    "memory": (remembering, "keep no state between passes"),
    "seldom": (seldom, "draws random numbers"),
    "counter": (counted, "changed the buffers calls"),
    "counter anew": (counted_anew, "put others in the place of calls"),
    "centred": (lambda m, a: a - a.mean(0), "must not depend on the other cases"),
    "scaled": (lambda m, a: a / a.norm(), "must not depend on the other cases"),
    "running sum": (lambda m, a: a.cumsum(0), "must not depend on the other cases"),
    "sum to come": (lambda m, a: a.flip(0).cumsum(0).flip(0), "must not depend on the other cases"),
    "neighbour": (lambda m, a: a.roll(1, 0), "must not depend on the other cases"),
}


@pytest.mark.parametrize("which", FAULTS)
def test_faults_are_found_and_nothing_is_changed(which: str) -> None:
    inside, message = FAULTS[which]
    torch.manual_seed(0)
    model, (x, t) = With(inside), batch()
    optimizer = HessianFree(model, LOSS)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    with pytest.raises(ConfigError, match=message):
        optimizer.step(x, t)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert (optimizer.iteration, optimizer.ledger.work) == (0, 0)


@pytest.mark.parametrize("cases", [2, 3, 4, 5])
def test_coupled_cases_are_found_in_small_batches(cases: int) -> None:
    with pytest.raises(ConfigError, match="must not depend on the other cases"):
        HessianFree(With(lambda m, a: a - a.mean(0)), LOSS).step(*batch(cases))


def test_a_recurrent_layer_that_takes_the_cases_for_time() -> None:
    class Wrong(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.out = nn.LSTM(4, 3, dtype=DTYPE), nn.Linear(3, 2, dtype=DTYPE)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.layer(x)[0])

    torch.manual_seed(0)
    with pytest.raises(ConfigError, match="batch_first=True"):
        HessianFree(Wrong(), LOSS).step(*batch())


def test_power_iterations_in_training_mode() -> None:
    """Spectral normalisation changes its vectors at each pass, until eval()."""
    torch.manual_seed(0)
    model = nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 2)).to(DTYPE)
    optimizer = HessianFree(model, LOSS)
    with pytest.raises(ConfigError, match="changed the buffers .*_u"):
        optimizer.step(*batch())
    model.eval()
    assert optimizer.step(*batch()).step_length > 0


class Detached(torch.autograd.Function):
    """A square whose backward pass leaves no trace of itself."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0].detach() * u.detach()


def hooked(model: With, a: Tensor) -> Tensor:
    b = a * 1
    if b.requires_grad:
        b.register_hook(lambda g: g.clamp(-1e-3, 1e-3))
    return b


@pytest.mark.parametrize("inside", [lambda m, a: a + Detached.apply(a), hooked], ids=["detached", "hook"])
def test_products_that_are_not_each_others_transposes(inside: Callable[[With, Tensor], Tensor]) -> None:
    """Beside a recorded branch, an unrecorded one would be missed without a sign: J v would lack its part."""
    torch.manual_seed(0)
    with pytest.raises(ConfigError, match="each other's transposes.*once_differentiable"):
        HessianFree(With(inside), LOSS).step(*batch())


# ---------------------------------------------------------------- no false alarms, no traces


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cases", [1, 2, 3, 7])
def test_sound_models_pass_and_are_left_as_they_were(dtype: torch.dtype, cases: int) -> None:
    """A normalisation in evaluation mode, dead units, and cases that are all alike."""
    torch.manual_seed(0)
    layers = [nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.LayerNorm(6), nn.Linear(6, 2)]
    model = nn.Sequential(*layers).to(dtype).eval()
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    x, t = inputs_for(cases, 4, 1, dtype), targets_for(LOSS, cases, 2, 2, dtype)
    state = torch.get_rng_state()
    for inputs in (x, torch.zeros_like(x)):
        assert HessianFree(model, LOSS).step(inputs, t).step_length > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())


def test_a_model_whose_outputs_do_not_move() -> None:
    """J v = 0: there is nothing to compare, and nothing wrong."""
    model, (x, t) = With(lambda m, a: 0 * a), batch()
    nn.init.zeros_(model.second.weight)
    assert HessianFree(model, LOSS).step(x, t).step_length > 0


@pytest.mark.parametrize("which", FAULTS)
def test_linearize_refuses_them_too(which: str) -> None:
    inside, message = FAULTS[which]
    x, t = batch()
    with pytest.raises(ConfigError, match=message):
        hfbench.linearize(With(inside), LOSS, x, t)


def test_memory_shared_after_the_first_step_is_seen() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)).to(DTYPE)
    x, t = batch()
    optimizer = HessianFree(model, LOSS)
    optimizer.step(x, t)
    model[2].weight.data = model[0].weight.data
    with pytest.raises(ConfigError, match=r"'0\.weight' and '2\.weight' must not share memory"):
        optimizer.step(x, t)


@pytest.mark.parametrize("act", ["step", "linearize"])
def test_a_first_layer_that_writes_into_the_inputs_is_refused_and_they_stay(act: str) -> None:
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).to(DTYPE)
    x, t = batch()
    before = x.clone()
    with pytest.raises(ConfigError, match="must not change its inputs"):
        HessianFree(model, LOSS).step(x, t) if act == "step" else hfbench.linearize(model, LOSS, x, t)
    assert torch.equal(x, before)


class MadeLate(nn.Module):
    """A second layer that is constructed in the first forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 3, dtype=DTYPE)

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "second"):
            self.second = nn.Linear(3, 2, dtype=DTYPE)
        return self.second(self.first(x))


class SparseWords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.last = nn.Parameter(torch.randn(7, 4, dtype=DTYPE)), nn.Linear(4, 2, dtype=DTYPE)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(functional.embedding(x, self.words, sparse=True).mean(1))


@pytest.mark.parametrize("act", ["step", "linearize"])
def test_late_parameters_and_sparse_gradients_are_named(act: str) -> None:
    x, t = batch()
    words = torch.randint(0, 7, (12, 3), generator=torch.Generator().manual_seed(0))
    for model, inputs, message in (
        (MadeLate(), x, r"must be there before its first forward pass, but that made 'second\."),
        (SparseWords(), words, "the gradient of 'words' is sparse"),
    ):
        with pytest.raises(ConfigError, match=message):
            HessianFree(model, LOSS).step(inputs, t) if act == "step" else hfbench.linearize(model, LOSS, inputs, t)


def test_saturated_units_raise_no_alarm() -> None:
    """Derivatives near the smallest numbers of single precision."""
    model, x = network((4, 3, 2), 0, torch.float32), inputs_for(12, 4, 1, torch.float32)
    with torch.no_grad():
        model[2].weight.mul_(1e-30)
        model[2].bias.requires_grad_(False)
        model[2].weight.requires_grad_(False)
    at = Linearisation(model, LOSS, x, torch.zeros(12, 2))
    assert 0 < float(at.jvp([torch.ones_like(p) for p in at.blocks]).abs().max()) < 1e-25
    check_products(at)


def test_it_is_tried_once_and_again_when_modes_change(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    original = hfbench.hessian_free.model_guard.try_out
    monkeypatch.setattr(hfbench.hessian_free.model_guard, "try_out", lambda *args: tried.append(1) or original(*args))
    model, (x, t) = network((4, 3, 2), 0), batch()
    optimizer = HessianFree(model, LOSS)
    for steps, expected in ((3, 1), (1, 1)):
        for _ in range(steps):
            optimizer.step(x, t)
        assert len(tried) == expected
    model.eval()
    for _ in range(2):
        optimizer.step(x, t)
    assert len(tried) == 2


def test_dropout_that_is_switched_on_later_is_found() -> None:
    model, (x, t) = With(lambda m, a: functional.dropout(a, 0.5, m.training)).eval(), batch()
    optimizer = HessianFree(model, LOSS)
    optimizer.step(x, t)
    model.train()
    with pytest.raises(ConfigError, match="two passes"):
        optimizer.step(x, t)


def test_one_case_alone_is_taken_and_more_are_tried_when_they_come() -> None:
    model, (x, t) = With(lambda m, a: a - a.mean(0, keepdim=True).detach() / 2), batch()
    optimizer = HessianFree(model, LOSS)
    optimizer.step(x[:1], t[:1])
    with pytest.raises(ConfigError, match="must not depend on the other cases"):
        optimizer.step(x, t)


def test_a_first_batch_that_is_not_finite_does_not_spare_the_model() -> None:
    model, (x, t) = With(lambda m, a: a - a.mean(0)), batch()
    optimizer = HessianFree(model, LOSS)
    with pytest.raises(NonFiniteError):
        optimizer.step(x * torch.inf, t)
    with pytest.raises(ConfigError, match="must not depend"):
        optimizer.step(x, t)


def test_the_trial_is_not_counted_as_work() -> None:
    model, (x, t) = network((4, 3, 2), 0), batch()
    optimizer = HessianFree(model, LOSS, globalization={"adapt_damping": False, "line_search": False})
    result = optimizer.step(x, t)
    assert optimizer.ledger.forward == len(x)
    assert optimizer.ledger.products == result.inner_iterations


def test_an_error_of_the_models_own_says_when_it_came() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        HessianFree(network((4, 2), 0), LOSS).step(*batch(features=3))
    assert "raised by the model on 4 of the 12 cases" in caught.value.__notes__[0]


# ---------------------------------------------------------------- still the same model


def trained() -> tuple[nn.Sequential, HessianFree]:
    model = network((4, 3, 2), 0)
    optimizer = HessianFree(model, LOSS)
    optimizer.step(*batch())
    return model, optimizer


def freeze(model: nn.Sequential) -> None:
    model[0].weight.requires_grad_(False)


def add(model: nn.Sequential) -> None:
    model.append(nn.Linear(2, 2, dtype=DTYPE))


def replace(model: nn.Sequential) -> None:
    model[0].weight = nn.Parameter(model[0].weight.detach().clone())


def reshape(model: nn.Sequential) -> None:
    model[0].bias.data = torch.zeros(1, dtype=DTYPE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (freeze, r"frozen or removed \(0.weight\) or unfrozen or added \(none\)"),
        (add, r"unfrozen or added \(3.weight, 3.bias\)"),
        (replace, "parameter '0.weight' was replaced.*load_state_dict carries"),
        (reshape, r"'0.bias' was a tensor of shape \(3,\), .* and is now of shape \(1,\)"),
        (lambda model: model.float(), "'0.weight' was .*float64, on cpu at the construction and is now .*float32"),
    ],
)
def test_a_model_that_changed_since_is_refused(change: Callable[[nn.Sequential], Any], message: str) -> None:
    model, optimizer = trained()
    change(model)
    with pytest.raises(ConfigError, match=message):
        optimizer.step(*batch())
    assert optimizer.iteration == 1


def test_unfrozen_parameters_are_refused_until_frozen_again() -> None:
    model = network((4, 3, 2), 0)
    model[0].requires_grad_(False)
    optimizer = HessianFree(model, LOSS)
    model[0].requires_grad_(True)
    with pytest.raises(ConfigError, match=r"unfrozen or added \(0.weight, 0.bias\)"):
        optimizer.step(*batch())
    model[0].requires_grad_(False)
    assert optimizer.step(*batch()).step_length > 0


def test_new_values_in_the_same_parameters_are_welcome() -> None:
    model, optimizer = trained()
    model.load_state_dict(network((4, 3, 2), 5).state_dict())
    assert optimizer.step(*batch()).step_length > 0


def test_a_moved_model_goes_on_with_a_new_optimizer() -> None:
    model, optimizer = trained()
    saved = optimizer.state_dict()
    model.float()
    again = HessianFree(model, LOSS)
    again.load_state_dict(saved)
    x, t = batch()
    result = again.step(x.float(), t.float())
    assert (result.iteration, again.damping) == (2, result.next_damping)
    assert all(state["warm_start"].dtype == torch.float32 for state in again.state.values())


@pytest.mark.gpu
def test_the_whole_step_on_a_gpu() -> None:
    """Buffers, generators and results on the device; the preconditioner's draws from the CPU."""
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 2)).to(DTYPE).eval()
    twin = copy.deepcopy(model).cuda()
    x, t = batch()
    a, b = (HessianFree(one, LOSS, preconditioner="chapelle-erhan") for one in (model, twin))
    state = torch.cuda.get_rng_state()
    for _ in range(3):
        here, there = a.step(x, t), b.step(x.cuda(), t.cuda())
        assert there.objective_after == pytest.approx(here.objective_after, rel=1e-8)
    assert torch.equal(torch.cuda.get_rng_state(), state)
    noisy = With(lambda m, h: functional.dropout(h)).cuda()
    with pytest.raises(ConfigError, match="two passes"):
        HessianFree(noisy, LOSS).step(x.cuda(), t.cuda())
    twin.cpu()
    with pytest.raises(ConfigError, match="is now of .* on cpu"):
        b.step(x, t)


def test_a_hook_of_all_modules_that_changes_outputs_is_refused() -> None:
    """Products of a chain of layers are written out and would not meet it."""
    model, (x, t) = network((4, 5, 2), 0), batch()
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, args, z: z * 1.5 if isinstance(module, nn.Tanh) else None
    )
    try:
        with pytest.raises(ConfigError, match="a hook registered for all modules"):
            HessianFree(model, LOSS).step(x, t)
    finally:
        handle.remove()
    HessianFree(model, LOSS).step(x, t)
