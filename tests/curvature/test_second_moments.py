"""Sums of squared per-case gradients against automatic differentiation of one case at a time, whatever the layers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.misplaced_cases import MISPLACED, batch_of
from support.systems import Tied, Twice, flat, inputs_for, network
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

import hfbench.curvature.second_moments
from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.model_checks import trainable
from hfbench.linalg.vector import Vector

DTYPE = torch.float64


def filled(model: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.to(DTYPE).parameters():
            p.copy_(0.5 * torch.randn(p.shape, generator=generator, dtype=DTYPE))
    return model


class RowsFolded(nn.Module):
    """Several rows per case, folded into the layer's first dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.layer(x.reshape(-1, 2))).reshape(len(x), -1)


class ByKeyword(nn.Module):
    """Calls its layer with a keyword, and leaves another layer unused."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.unused = nn.Linear(4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(input=x)


class SideOutput(nn.Module):
    """A layer that is called but does not reach the output."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.side = nn.Linear(4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.side(x)
        return self.layer(x)


def frozen_first() -> nn.Module:
    model = network((4, 5, 3), 0)
    model[0].requires_grad_(False)
    return model


def frozen_bias() -> nn.Module:
    model = network((4, 5, 3), 0)
    model[0].bias.requires_grad_(False)
    return model


def pruned() -> nn.Module:
    """The layer's weight is computed from another parameter before each pass."""
    return nn.Sequential(prune.l1_unstructured(nn.Linear(4, 3), "weight", 0.3), nn.Tanh(), nn.Linear(3, 2))


class Exp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.exp()


def parametrised() -> nn.Module:
    layer = nn.Linear(4, 3)
    parametrize.register_parametrization(layer, "weight", Exp())
    return layer


class Hooked(nn.Module):
    """A layer whose output a hook of the model's own doubles."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.layer.register_forward_hook(lambda layer, args, output: 2 * output)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class TimeFirst(nn.Module):
    """Puts the sequence before the cases: with as many steps as cases, the two cannot be told apart."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.layer(x.transpose(0, 1))).sum(0)


class OnePicture(nn.Module):
    """Calls a convolution without the dimension for the cases, which here are its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv1d(1, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.layer(one).flatten() for one in x[:1]]) if len(x) == 1 else self.layer(x).flatten(1)


def convolutions(*layers: nn.Module) -> nn.Sequential:
    """The layers, tanh between them, to vectors."""
    return nn.Sequential(*(one for layer in layers for one in (layer, nn.Tanh())), nn.Flatten())


def conv_autoencoder() -> nn.Sequential:
    return convolutions(
        *(nn.Conv2d(1, 2, 4, 2, 1), nn.Conv2d(2, 3, (2, 3), (1, 2), (0, 1), dilation=(2, 1))),
        *(nn.ConvTranspose2d(3, 2, (3, 2), (1, 2)), nn.ConvTranspose2d(2, 1, 3, 2, 1, output_padding=1, bias=False)),
    )


def frozen_weights() -> nn.Sequential:
    """Biases alone are trained, of a dense layer and of two convolutions."""
    model = nn.Sequential(nn.Conv1d(2, 3, 2), nn.ConvTranspose1d(3, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 2))
    for layer in (model[0], model[1], model[4]):
        layer.weight.requires_grad_(False)
    return model


PICTURES = {
    "conv1d": (lambda: nn.Sequential(nn.Conv1d(2, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(9, 2)), (2, 4)),
    "conv1d-both-ways": (
        lambda: convolutions(nn.Conv1d(2, 3, 3, 2, 1, 2, bias=False), nn.ConvTranspose1d(3, 2, 4, 2, 1)),
        (2, 9),
    ),
    "conv2d": (conv_autoencoder, (1, 8, 8)),
    "conv2d-same": (lambda: convolutions(nn.Conv2d(1, 2, 3, padding="same", dilation=2)), (1, 4, 5)),
    "conv2d-valid": (lambda: convolutions(nn.Conv2d(1, 2, (3, 2), padding="valid")), (1, 4, 5)),
    "conv2d-circular": (lambda: convolutions(nn.Conv2d(2, 2, 3, padding=(2, 1), padding_mode="circular")), (2, 4, 4)),
    "conv2d-reflect": (lambda: convolutions(nn.Conv2d(2, 2, 3, padding="same", padding_mode="reflect")), (2, 4, 4)),
    "frozen-weights": (frozen_weights, (2, 4)),
}
MODELS = PICTURES | {
    "dense": (lambda: network((4, 5, 3), 0), (4,)),
    "no-bias": (lambda: nn.Sequential(nn.Linear(4, 5, bias=False), nn.Tanh(), nn.Linear(5, 3)), (4,)),
    "in-place": (lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 3)), (4,)),
    "sequence": (lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)), (3, 4)),
    "as-many-steps-as-cases": (lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)), (5, 4)),
    "as-many-pixels-as-cases": (lambda: convolutions(nn.Conv2d(2, 3, 3, padding=1)), (2, 5, 5)),
    "time-first": (TimeFirst, (7, 2)),
    "rows-folded": (RowsFolded, (6,)),
    "groups": (lambda: convolutions(nn.Conv2d(2, 4, 2, groups=2)), (2, 3, 3)),
    "output-padding": (lambda: convolutions(nn.ConvTranspose2d(1, 2, 2, 1, dilation=2, output_padding=1)), (1, 3, 3)),
    "one-picture": (OnePicture, (1, 4)),
    "layer-norm": (lambda: nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 2)), (4,)),
    "hooked": (Hooked, (4,)),
    "tied": (Tied, (4,)),
    "twice": (Twice, (4,)),
    "keyword": (ByKeyword, (4,)),
    "side": (SideOutput, (4,)),
    "frozen-first": (frozen_first, (4,)),
    "frozen-bias": (frozen_bias, (4,)),
    "pruned": (pruned, (4,)),
    "parametrised": (parametrised, (4,)),
}
FAST = {*PICTURES, "dense", "no-bias", "in-place", "sequence", "side", "frozen-first", "frozen-bias"}
FAST |= {"as-many-steps-as-cases", "as-many-pixels-as-cases", "one-picture"}  # with 5 cases


def by_hand(model: nn.Module, x: Tensor, u: Tensor) -> Tensor:
    """J_iᵀu_i for every case, each from its own graph."""
    rows = []
    for i in range(len(x)):
        weights, z = list(trainable(model).values()), model(x[i : i + 1])
        blocks = torch.autograd.grad(z, weights, u[i : i + 1], materialize_grads=True, allow_unused=True)
        rows.append(torch.tensor(flat(Vector(blocks))))
    return torch.stack(rows)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("cases", [1, 7])
def test_per_case_squares(name: str, chunk: int | None, cases: int) -> None:
    make, shape = MODELS[name]
    model = filled(make())
    x = torch.randn(cases, *shape, generator=torch.Generator().manual_seed(1), dtype=DTYPE)
    z = model(x).detach()
    at = Linearisation(model, "least-squares", x, torch.zeros_like(z), chunk=chunk)
    u = torch.randn(z.shape, generator=torch.Generator().manual_seed(2), dtype=DTYPE)
    rows = by_hand(model, x, u)
    torch.testing.assert_close(torch.tensor(flat(at.squared_sums(u))), rows.square().sum(0))
    assert at.squared_norms(u) == pytest.approx(float(rows.square().sum()), rel=1e-10)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("name", MISPLACED)
@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("cases", [1, 2, 4])
def test_a_layers_first_dimension_is_not_taken_for_the_cases(name: str, chunk: int | None, cases: int) -> None:
    model, x = batch_of(name, cases)
    z = model(x).detach()
    u = torch.randn(z.shape, generator=torch.Generator().manual_seed(2), dtype=DTYPE)
    at, rows = Linearisation(model, "least-squares", x, torch.zeros_like(z), chunk=chunk), by_hand(model, x, u)
    torch.testing.assert_close(torch.tensor(flat(at.squared_sums(u))), rows.square().sum(0))
    assert at.squared_norms(u) == pytest.approx(float(rows.square().sum()), rel=1e-10)
    if cases > 1:
        at = Linearisation(model, "least-squares", x, z + u, chunk=chunk)
        variance = float(by_hand(model, x, -u).var(0).sum())
        assert at.variance_l1 == pytest.approx(variance, rel=1e-9)


# ---------------------------------------------------------------- one case alone, squeezed away


class Squeezed(nn.Module):
    """A layer before and one after a squeeze of all dimensions of one, or of those that are said."""

    def __init__(self, before: nn.Module, after: nn.Module, dims: tuple[int, ...] | None) -> None:
        super().__init__()
        self.before, self.after, self.dims = before, after, dims

    def forward(self, x: Tensor) -> Tensor:
        h = self.before(x)
        return self.after(h.squeeze() if self.dims is None else h.squeeze(self.dims))


class Last(nn.Module):
    """The last hidden state of a recurrent layer, which no batch of per-case gradients can be made of."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0][:, -1:]


class Flattened(nn.Module):
    """Needs the dimension of the cases."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1))


def pooled() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.AdaptiveAvgPool2d(1))


SQUEEZED: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], tuple[int, ...], tuple[int, ...]]] = {
    "regression": (lambda: nn.Sequential(nn.Linear(4, 3), nn.PReLU(), nn.Linear(3, 1)), nn.Identity, (-1,), (4,)),
    "pooled": (pooled, lambda: nn.Linear(4, 3), (2, 3), (1, 5, 5)),
    "recurrent": (Last, lambda: nn.Linear(4, 2), (1,), (5, 3)),
    "needs-cases": (lambda: nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)), Flattened, (2,), (2, 1, 3)),
    "needs-two": (lambda: nn.LayerNorm(3), lambda: nn.Softmax(1), (1,), (1, 3)),
}


@pytest.mark.parametrize("name", SQUEEZED)
@pytest.mark.parametrize("chunk", [None, 4])
def test_models_that_squeeze_a_case_away_have_the_moments_of_those_that_do_not(name: str, chunk: int | None) -> None:
    before, after, dims, shape = SQUEEZED[name]
    model, twin = (filled(Squeezed(before(), after(), given)) for given in (None, dims))
    x = torch.randn(8, *shape, generator=torch.Generator().manual_seed(1), dtype=DTYPE)
    u = torch.randn(twin(x).shape, generator=torch.Generator().manual_seed(2), dtype=DTYPE)
    found, wanted = (Linearisation(one, "least-squares", x, u, chunk=chunk) for one in (model, twin))
    torch.testing.assert_close(torch.tensor(flat(found.squared_sums(u))), torch.tensor(flat(wanted.squared_sums(u))))
    assert found.squared_norms(u) == pytest.approx(wanted.squared_norms(u), rel=1e-10)
    assert found.variance_l1 == pytest.approx(wanted.variance_l1, rel=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_only_models_of_plain_layers_take_the_short_way(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, shape = MODELS[name]
    model, x = filled(make()), torch.ones(5, *shape, dtype=DTYPE)
    general, calls = hfbench.curvature.second_moments._general, []
    monkeypatch.setattr(
        hfbench.curvature.second_moments, "_general", lambda *args: calls.append(name) or general(*args)
    )
    z = model(x).detach()
    Linearisation(model, "least-squares", x, z + 1).squared_sums(torch.ones_like(z))
    assert (not calls) == (name in FAST)


def test_the_general_way_is_sliced(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most `PER_CASE_ENTRIES` entries of per-case gradients are held; the sums are the same."""
    model, x = filled(Twice()), inputs_for(9, 4, 1)
    z = model(x).detach()
    at = Linearisation(model, "least-squares", x, z + 1)
    whole = at.squared_sums(z), at.squared_norms(z)
    monkeypatch.setattr(hfbench.curvature.second_moments, "PER_CASE_ENTRIES", 45)  # two cases of 20 parameters
    torch.testing.assert_close(torch.tensor(flat(at.squared_sums(z))), torch.tensor(flat(whole[0])))
    assert at.squared_norms(z) == pytest.approx(whole[1])


def test_cases_are_sliced_layer_by_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = filled(conv_autoencoder()), torch.randn(9, 1, 8, 8, generator=torch.Generator().manual_seed(1)).to(DTYPE)
    z = model(x).detach()
    at = Linearisation(model, "least-squares", x, z + 1)
    whole = at.squared_sums(z), at.squared_norms(z)
    monkeypatch.setattr(
        hfbench.curvature.second_moments, "SLICE_ENTRIES", 100
    )  # a few cases, or one where its windows have more
    torch.testing.assert_close(torch.tensor(flat(at.squared_sums(z))), torch.tensor(flat(whole[0])))
    assert at.squared_norms(z) == pytest.approx(whole[1])


def test_hooks_do_not_stay_on_the_model() -> None:
    model, x = network((4, 5, 3), 0), inputs_for(6, 4, 1)
    Linearisation(model, "logistic", x, torch.ones(6, 3, dtype=DTYPE))
    assert not any(module._forward_hooks for module in model.modules())
