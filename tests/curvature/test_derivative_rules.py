"""Rules in the place of PyTorch's graphs: only where nothing else rewrites them, and with all that graphs promise."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.rules import check_products, rules_in, rules_used
from torch import Tensor, nn
from torch.autograd import grad
from torch.utils.checkpoint import checkpoint

import hfbench
from hfbench.curvature.derivative_rules import WrittenOut
from hfbench.curvature.linearisation import Linearisation
from hfbench.errors import ConfigError


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 3, 3), nn.Tanh(), nn.Conv1d(3, 2, 2), nn.Flatten())


def test_a_graph_without_derivatives_is_not_touched() -> None:
    model, x = convolutional(), torch.randn(3, 2, 6)
    with WrittenOut(), torch.no_grad():
        assert not model(x).requires_grad
    with WrittenOut():
        assert not model.requires_grad_(False)(x).requires_grad


class Checkpointed(nn.Module):
    """Recomputed in the backward pass, where the same graph must be made again."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = convolutional(), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(checkpoint(self.inner, x, use_reentrant=False))


def test_what_is_recomputed_is_pytorchs() -> None:
    model, x = Checkpointed(), torch.randn(3, 2, 6)
    at = Linearisation(model, "least-squares", x, torch.zeros(3, 2))
    plain = Linearisation(nn.Sequential(model.inner, model.outer), "least-squares", x, torch.zeros(3, 2))
    v = plain.gradient
    torch.testing.assert_close(list(at.gradient), list(v))
    torch.testing.assert_close(at.jvp(v), plain.jvp(v))
    assert rules_used(model, x) == 0


class Batched(nn.Module):
    """A convolution inside of `torch.func`."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv1d(2, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.func.vmap(self.layer)(x).flatten(1)


def test_what_functional_transforms_rewrite_is_pytorchs() -> None:
    torch.manual_seed(0)
    model, x = Batched(), torch.randn(3, 2, 6)
    assert rules_used(model, x) == 0
    check_products(model, x)


class Hooked(nn.Module):
    """A hook inside of forward that doubles a gradient, which is no derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv1d(2, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        z = self.layer(x)
        if z.requires_grad:
            z.register_hook(lambda u: 2 * u)
        return torch.tanh(z).flatten(1)


def test_hooks_on_what_a_rule_made_run() -> None:
    torch.manual_seed(0)
    model, x = Hooked(), torch.randn(3, 2, 6)
    at = Linearisation(model, "least-squares", x, torch.zeros(3, 12))
    (direct,) = grad(model(x), [model.layer.weight], at.residual / 3)
    torch.testing.assert_close(at.gradient[0], direct)
    v = at.gradient
    torch.testing.assert_close(float((at.jvp(v) * at.residual).sum() / 3), float(v.dot(v)), rtol=1e-5, atol=0)


class Writes(nn.Module):
    """Writes into what a convolution read, as a buffer that is kept between calls might be."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.layer = nn.Linear(6, 6), nn.Conv1d(2, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.first(x)
        z = self.layer(inner)
        inner.mul_(2)
        return (z.sum((1, 2)) + inner.sum((1, 2)))[:, None]


def test_a_change_in_place_of_what_products_read_is_seen() -> None:
    torch.manual_seed(0)
    model, x = Writes(), torch.randn(3, 2, 6)
    at = Linearisation(model, "least-squares", x, torch.zeros(3, 1))
    with pytest.raises(ConfigError, match="changed in place"):
        at.jvp(at.blocks)


@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
def test_other_precisions_have_the_rules_as_well(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hfbench.linalg.precision, "has_bfloat16", lambda device: True)
    model, x = convolutional(), torch.randn(3, 2, 6)
    at = hfbench.linearize(model, "least-squares", x, torch.zeros(3, 6), precision=precision)
    plain = hfbench.linearize(model, "least-squares", x, torch.zeros(3, 6))
    v = plain.gradient
    exact = plain.gauss_newton(v)
    assert (at.gauss_newton(v) - exact).norm() < {"float64": 1e-6, "bfloat16": 0.05}[precision] * exact.norm()
    assert at.kept_cast is not None
    assert rules_in(at.kept_cast.z) == 2


class Energy(nn.Module):
    """A force: the derivative of a sum of energies by the inputs, made in the forward pass."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            h = self.layer(x)
            energy = self.head(torch.tanh(h[0] if isinstance(h, tuple) else h)).square().sum()
            (force,) = grad(energy, x, create_graph=True)
        return force.flatten(1)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6)),
        lambda: nn.Conv1d(2, 2, 3, padding=1),
        lambda: nn.GroupNorm(2, 2),
        lambda: nn.GRU(6, 6, batch_first=True),
    ],
)
def test_a_model_that_differentiates_in_its_forward_pass_is_pytorchs(layer: Callable[[], nn.Module]) -> None:
    """Its derivatives depend on the layer's weights, too: rows of J one by one, from the model's own graph."""
    torch.manual_seed(0)
    model, x = Energy(layer()).double(), torch.randn(3, 2, 6, dtype=torch.float64)
    parameters = list(model.parameters())
    at = hfbench.linearize(model, "least-squares", x, torch.zeros_like(model(x)))  # which tries the model
    assert rules_used(model, x) == 0
    z = model(x).flatten()
    rows = [grad(z_i, parameters, retain_graph=True, materialize_grads=True, allow_unused=True) for z_i in z]
    J = torch.stack([torch.cat([block.flatten() for block in row]) for row in rows])
    v = at.gradient
    torch.testing.assert_close(at.jvp(v).flatten(), J @ torch.cat([block.flatten() for block in v]))
    torch.testing.assert_close(torch.cat([block.flatten() for block in v]), J.T @ z.detach() / 3)


class Constant(nn.Module):
    """Takes a derivative in its forward pass as a number."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv1d(2, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            held = x.detach().requires_grad_()
            (slope,) = grad(torch.tanh(self.layer(held)).sum(), held)
        return (self.layer(x).tanh() * slope).flatten(1)


def test_a_derivative_that_is_a_number_leaves_the_rules() -> None:
    torch.manual_seed(0)
    assert rules_used(Constant(), torch.randn(3, 2, 6)) == 1


class Autocast(nn.Module):
    """A convolution in bfloat16 in a model in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv1d(2, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            h = self.layer(x)
        return h.float().tanh().flatten(1)


def test_what_autocast_rewrites_is_pytorchs() -> None:
    torch.manual_seed(0)
    model, x = Autocast(), torch.randn(3, 2, 6)
    assert rules_used(model, x) == 0
    at = Linearisation(model, "least-squares", x, torch.zeros(3, 12))
    assert torch.equal(at.outputs, model(x))
