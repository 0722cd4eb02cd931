"""Layers of every kind against a Jacobian made row by row: products, squares, steps, whatever kernels they run by."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.systems import flat, inputs_for, targets_for
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from hfbench import HessianFree, linearize
from hfbench.curvature.double_backward import twice_differentiable
from hfbench.curvature.linearisation import Linearisation
from hfbench.errors import ConfigError
from hfbench.linalg.vector import Vector

DTYPE = torch.float64
LOSS = "least-squares"
CASES = 6


class Reads(nn.Module):
    """A sequence layer, a mean over the sequence, and two outputs."""

    def __init__(self, layer: nn.Module, width: int, weights: bool = False) -> None:
        super().__init__()
        self.layer, self.out, self.weights = layer, nn.Linear(width, 2), weights

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.layer, nn.MultiheadAttention):
            z = self.layer(x, x, x, need_weights=self.weights)
        else:
            z = self.layer(x)
        return self.out((z[0] if isinstance(z, tuple) else z).mean(1))


class Attends(nn.Module):
    """Attention as a function, causal."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(4, 12), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x)[:, None].chunk(3, -1)
        return self.out(functional.scaled_dot_product_attention(q, k, v, is_causal=True)[:, 0, -1])


class Tied(nn.Module):
    """Embedding and output share their weight, beside a parameter that nothing depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
        self.out.weight = self.words.weight
        self.idle = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.words(x).sum(1)))


def sequences(seed: int = 1, features: int = 4) -> Tensor:
    return inputs_for(CASES, 5 * features, seed).reshape(CASES, 5, features)


def pictures() -> Tensor:
    return inputs_for(CASES, 25, 1).reshape(CASES, 1, 5, 5)


def words() -> Tensor:
    return torch.randint(7, (CASES, 3), generator=torch.Generator().manual_seed(1))


def encoder() -> nn.Module:
    return nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)


def recurrent(kind: Callable[..., nn.Module], **settings: Any) -> Callable[[], nn.Module]:
    return lambda: Reads(kind(4, 3, batch_first=True, **settings), 6 if settings.get("bidirectional") else 3)


LAYERS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "lstm": (recurrent(nn.LSTM), sequences),
    "lstm, both ways": (recurrent(nn.LSTM, bidirectional=True, num_layers=2), sequences),
    "gru": (recurrent(nn.GRU), sequences),
    "rnn": (recurrent(nn.RNN), sequences),
    "attention": (lambda: Reads(nn.MultiheadAttention(4, 2, batch_first=True), 4), sequences),
    "attention, weights": (lambda: Reads(nn.MultiheadAttention(4, 2, batch_first=True), 4, weights=True), sequences),
    "attention, function": (Attends, sequences),
    "encoder layer": (lambda: Reads(encoder(), 4), sequences),
    "encoder": (lambda: Reads(nn.TransformerEncoder(encoder(), 2, enable_nested_tensor=False), 4), sequences),
    "embedding": (lambda: nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 2)), words),
    "tied": (Tied, words),
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.GELU(), nn.ConvTranspose2d(2, 1, 3), nn.Flatten(), nn.Linear(25, 2)
        ),
        pictures,
    ),
    "pooling": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 2), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)
        ),
        pictures,
    ),
    "normalisations": (
        lambda: nn.Sequential(
            nn.Conv1d(5, 4, 1), nn.GroupNorm(2, 4), nn.SiLU(), nn.Flatten(), nn.LayerNorm(16), nn.Linear(16, 2)
        ),
        sequences,
    ),
    "batch norm, eval": (
        lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(27, 2)).eval(),
        pictures,
    ),
}


def made(which: str, mode: bool | None = None) -> tuple[nn.Module, Tensor]:
    """The model with weights that depend on its name alone, and its inputs."""
    make, cases = LAYERS[which]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().to(DTYPE)
    return (model if mode is None or "eval" in which else model.train(mode)), cases()


def jacobian(model: nn.Module, x: Tensor) -> Tensor:
    """dz/dw as cases × outputs × P: one plain backward pass per output, by the model's own kernels."""
    z, leaves = model(x), list(model.parameters())
    rows = [
        flat(Vector(torch.autograd.grad(one, leaves, retain_graph=True, allow_unused=True, materialize_grads=True)))
        for one in z.reshape(-1)
    ]
    return torch.stack([torch.from_numpy(row) for row in rows]).reshape(*z.shape, -1)


def vector(model: nn.Module, seed: int = 3) -> Vector:
    generator = torch.Generator().manual_seed(seed)
    return Vector(torch.randn(p.shape, generator=generator, dtype=DTYPE) for p in model.parameters())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("which", LAYERS)
def test_products_and_squares(which: str, training: bool) -> None:
    model, x = made(which, training)
    J = jacobian(model, x)
    at = linearize(model, LOSS, x, torch.zeros(J.shape[:2], dtype=DTYPE))
    v, u = vector(model), inputs_for(CASES, J.shape[1], 4)
    V = torch.from_numpy(flat(v))
    torch.testing.assert_close(at.jvp(v), J @ V, rtol=1e-9, atol=1e-11)
    rows = torch.einsum("no,nop->np", u, J)
    torch.testing.assert_close(torch.from_numpy(flat(at.vjp(u))), rows.sum(0), rtol=1e-9, atol=1e-11)
    product = J.flatten(0, 1).T @ (J @ V).flatten()
    torch.testing.assert_close(torch.from_numpy(flat(at.gauss_newton(v))), product / CASES, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(torch.from_numpy(flat(at.squared_sums(u))), rows.square().sum(0), rtol=1e-9, atol=1e-11)
    assert at.squared_norms(u) == pytest.approx(float(rows.square().sum()), rel=1e-9)
    assert at.product_mode == "transpose"


@pytest.mark.parametrize("which", LAYERS)
def test_variance_and_steps(which: str) -> None:
    model, x = made(which)
    t = targets_for(LOSS, CASES, model(x).shape[1], 2)
    r = (model(x) - t).detach()
    G = torch.einsum("no,nop->np", r, jacobian(model, x))
    expected = float(G.var(0, correction=1).sum())
    for preconditioner in ("martens", "chapelle-erhan"):
        twin = copy.deepcopy(model)
        optimizer = HessianFree(twin, LOSS, solver="lsmr", preconditioner=preconditioner)
        first = optimizer.step(x, t, evidence=["variance_l1"])
        assert first.variance_l1 == pytest.approx(expected, rel=1e-8)
        assert optimizer.step(x, t).objective_after < first.objective_before


@pytest.mark.parametrize("which", ["lstm", "attention", "tied", "convolutions"])
def test_in_chunks_and_in_forward_mode(which: str) -> None:
    model, x = made(which)
    J, v = jacobian(model, x), vector(model)
    t = torch.zeros(J.shape[:2], dtype=DTYPE)
    Jv = J @ torch.from_numpy(flat(v))
    torch.testing.assert_close(linearize(model, LOSS, x, t, chunk=4).jvp(v), Jv, rtol=1e-9, atol=1e-11)
    at = Linearisation(model, LOSS, x, t)
    at.kept.forward_mode = True
    torch.testing.assert_close(at.jvp(v), Jv, rtol=1e-9, atol=1e-11)
    assert at.product_mode == "forward"


@pytest.mark.parametrize("which", ["lstm", "gru", "attention"])
def test_in_single_precision(which: str) -> None:
    """Where PyTorch has other kernels than in double."""
    model, x = made(which)
    v, t = vector(model), torch.zeros(CASES, 2, dtype=DTYPE)
    exact = linearize(model, LOSS, x, t).gauss_newton(v)
    single = linearize(model.float(), LOSS, x.float(), t.float()).gauss_newton([block.float() for block in v])
    for a, b in zip(single, exact, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5)


def test_tied_weights_are_one_block_and_an_idle_parameter_stays() -> None:
    model, x = made("tied")
    optimizer = HessianFree(model, LOSS)
    assert len(optimizer.param_groups[0]["params"]) == 2
    optimizer.step(x, targets_for(LOSS, CASES, 7, 2))
    assert model.out.weight is model.words.weight
    assert torch.equal(model.idle, torch.ones(3, dtype=DTYPE))


def test_an_operation_without_any_second_derivative() -> None:
    model = nn.Sequential(nn.EmbeddingBag(7, 4), nn.Linear(4, 2)).to(DTYPE)
    with pytest.raises(ConfigError, match="second derivative or a forward-mode rule.*_embedding_bag.*nn.Embedding"):
        HessianFree(model, LOSS).step(words(), targets_for(LOSS, CASES, 2, 1))


# ---------------------------------------------------------------- compiled models


def double(x: Tensor) -> Tensor:
    return torch.tanh(2 * x)


class Calls(nn.Module):
    """A function between two dense layers."""

    def __init__(self, function: Callable[[Tensor], Tensor] = double) -> None:
        super().__init__()
        self.first, self.second, self.function = nn.Linear(4, 5), nn.Linear(5, 2), function
        self.to(DTYPE)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.function(self.first(x)))


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # the compiler's own
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("what", ["model", "in place", "layer", "function"])
def test_compiled_models_step_as_they_would_uncompiled(backend: str, what: str) -> None:
    torch.manual_seed(0)
    plain = Calls()
    model: Any = copy.deepcopy(plain)
    if what == "model":
        model = torch.compile(model, backend=backend)
    elif what == "in place":
        model.compile(backend=backend)
    elif what == "layer":
        model.first = torch.compile(model.first, backend=backend)
    else:
        model.function = torch.compile(double, backend=backend)
    x, t = inputs_for(CASES, 4, 1), targets_for(LOSS, CASES, 2, 2)
    model(x).sum().backward()  # compiled by now, and in use beside the steps
    optimizers = [HessianFree(one, LOSS, preconditioner="chapelle-erhan") for one in (plain, model)]
    for _ in range(2):
        a, b = (optimizer.step(x, t).to_row() for optimizer in optimizers)
        assert a == b
    assert a["product_mode"] == "transpose"
    assert all(torch.equal(p, q) for p, q in zip(plain.parameters(), model.parameters(), strict=True))
    torch.testing.assert_close(model(x), plain(x))


# ---------------------------------------------------------------- the switches


def switches() -> tuple[bool, ...]:
    cuda = torch.backends.cuda
    fused = (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled())
    return *fused, torch.backends.mha.get_fastpath_enabled(), torch.backends.cudnn.enabled


def test_switches_are_set_inside_and_as_before_outside() -> None:
    before = switches()
    with twice_differentiable(nn.LSTM(2, 2)), twice_differentiable(nn.Linear(2, 2)):
        assert switches() == (False, False, True, False, False)
    assert switches() == before
    with twice_differentiable(nn.Linear(2, 2)):
        assert switches() == (False, False, True, False, before[-1])
    with pytest.raises(KeyError), twice_differentiable(nn.LSTM(2, 2)):
        raise KeyError
    assert switches() == before
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        own = switches()
        with twice_differentiable(nn.Linear(2, 2)):
            assert switches()[:3] == (False, False, True)
        assert switches() == own


def test_switches_are_as_before_after_an_error_in_a_step() -> None:
    before = switches()
    optimizer = HessianFree(nn.Linear(4, 2, dtype=DTYPE), LOSS)
    with pytest.raises(ConfigError):
        optimizer.step(inputs_for(5, 4, 1), torch.zeros(5, 3, dtype=DTYPE))
    assert switches() == before


@pytest.mark.gpu
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("which", LAYERS)
def test_products_and_squares_on_a_gpu(which: str, training: bool) -> None:
    """cuDNN's recurrent layers and fused attention give way; the oracle is the CPU's Jacobian."""
    model, x = made(which, training)
    J, v = jacobian(model, x), vector(model)
    at = linearize(model.cuda(), LOSS, x.cuda(), torch.zeros(J.shape[:2], dtype=DTYPE, device="cuda"))
    Jv = at.jvp([block.cuda() for block in v])
    torch.testing.assert_close(Jv.cpu(), J @ torch.from_numpy(flat(v)), rtol=1e-8, atol=1e-10)
    u = inputs_for(CASES, J.shape[1], 4)
    squares = torch.einsum("no,nop->np", u, J).square().sum(0)
    found = Vector(block.cpu() for block in at.squared_sums(u.cuda()))
    torch.testing.assert_close(torch.from_numpy(flat(found)), squares, rtol=1e-8, atol=1e-10)


def test_kernels_stay_plain_until_the_last_thread_leaves() -> None:
    recurrent, dense = nn.LSTM(2, 2), nn.Linear(2, 2)
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with twice_differentiable(recurrent):
            inside.set()
            leave.wait()

    before = torch.backends.mha.get_fastpath_enabled(), torch.backends.cudnn.enabled
    thread = threading.Thread(target=stay)
    with twice_differentiable(dense):
        thread.start()
        inside.wait()
        assert not torch.backends.cudnn.enabled, "for the other's model, though this one came first"
    assert (torch.backends.mha.get_fastpath_enabled(), torch.backends.cudnn.enabled) == (False, False)
    leave.set()
    thread.join()
    assert (torch.backends.mha.get_fastpath_enabled(), torch.backends.cudnn.enabled) == before
