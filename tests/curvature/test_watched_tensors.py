"""A linearisation that is kept: it answers at its own weights, and refuses a batch that was overwritten."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from support.systems import OnceDifferentiable, dense_jacobian, flat
from torch import Tensor, nn

import hfbench
from hfbench.curvature.linearisation import Linearisation
from hfbench.errors import ConfigError
from hfbench.linalg.vector import Vector

DTYPE = torch.float64


def dense() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.Tanh(), nn.Linear(5, 3))[1:]


class Once(nn.Module):
    """A model without a recorded transpose, whose J v is taken in forward mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return OnceDifferentiable.apply(self.layer(x))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "dense chain": dense,
    "convolutional": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)
    ),
    "with a scale": lambda: nn.Sequential(nn.Linear(16, 5), nn.PReLU(), nn.Linear(5, 3)),
    "forward mode": Once,
}


def kept(name: str, **settings: int | str) -> tuple[nn.Module, Tensor, Tensor, Linearisation]:
    torch.manual_seed(0)
    model = MODELS[name]().to(DTYPE)
    x, t = torch.randn(12, 16, dtype=DTYPE), torch.randn(12, 3, dtype=DTYPE)
    return model, x, t, hfbench.linearize(model, "least-squares", x, t, **settings)


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("settings", [{}, {"chunk": 5}])
@pytest.mark.parametrize("name", MODELS)
def test_it_answers_at_its_own_weights(name: str, settings: dict[str, int], used: bool) -> None:
    model, x, t, at = kept(name, **settings)
    J, r = dense_jacobian(model, x), (model(x) - t).detach()
    v, u = Vector(torch.randn_like(p) for p in model.parameters()), torch.randn_like(t)
    if used:
        at.gauss_newton(v)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.5 * torch.randn_like(p))
    per_case = J.view(12, 3, -1).mul(u[..., None]).sum(1)
    torch.testing.assert_close(at.jvp(v).reshape(-1), J @ torch.tensor(flat(v)))
    torch.testing.assert_close(torch.tensor(flat(at.vjp(u))), J.T @ u.reshape(-1))
    torch.testing.assert_close(torch.tensor(flat(at.gradient)), J.T @ r.reshape(-1) / 12)
    torch.testing.assert_close(torch.tensor(flat(at.squared_sums(u))), per_case.square().sum(0))
    assert at.squared_norms(u) == pytest.approx(float(per_case.square().sum()), rel=1e-10)
    assert at.value == pytest.approx(0.5 * float(r.square().sum()) / 12, rel=1e-12)


def test_products_in_another_precision_are_at_its_own_weights_too() -> None:
    model, x, t, _ = kept("convolutional")
    at = hfbench.linearize(model.float(), "least-squares", x.float(), t.float(), precision="float64")
    J = dense_jacobian(model, x.float()).double()
    v = Vector(torch.randn_like(p) for p in model.parameters())
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.5)
    torch.testing.assert_close(at.jvp(v).reshape(-1), (J @ torch.tensor(flat(v)).double()).float())


PRODUCTS: dict[str, Callable[[Linearisation, Tensor], object]] = {
    "jvp": lambda at, u: at.jvp(at.parameters),
    "vjp": lambda at, u: at.vjp(u),
    "gauss_newton": lambda at, u: at.gauss_newton(at.parameters),
    "gradient": lambda at, u: at.gradient,
    "squared_sums": lambda at, u: at.squared_sums(u),
    "squared_norms": lambda at, u: at.squared_norms(u),
}


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("settings", [{}, {"chunk": 5}, {"precision": "float64"}])
@pytest.mark.parametrize("name", ["dense chain", "convolutional"])
def test_a_batch_that_was_overwritten_is_named(name: str, settings: dict[str, int | str], product: str) -> None:
    for which in ("inputs", "targets"):
        _, x, t, at = kept(name, **settings)
        (x if which == "inputs" else t).mul_(2.0)
        with pytest.raises(ConfigError, match=f"the {which} must not change after the model was linearised"):
            PRODUCTS[product](at, torch.ones_like(t))


def test_frozen_weights_and_buffers_that_change_are_named() -> None:
    model = nn.Sequential(nn.Linear(4, 5).requires_grad_(False), nn.BatchNorm1d(5), nn.Linear(5, 3)).to(DTYPE).eval()
    x, t = torch.randn(6, 4, dtype=DTYPE), torch.randn(6, 3, dtype=DTYPE)
    for tensor, name in ((model[0].weight, "'0.weight'"), (model[1].running_mean, "buffer '1.running_mean'")):
        at = hfbench.linearize(model, "least-squares", x, t)
        tensor.data.requires_grad_(False)
        with torch.no_grad():
            tensor.add_(1.0)
        with pytest.raises(ConfigError, match=f"entries of {name} must not change"):
            at.jvp(at.parameters)


class Fixed(nn.Module):
    """A frozen layer, a buffer and a mask that is a plain attribute, between inputs and the trained layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 5).requires_grad_(False), nn.Linear(5, 3)
        self.register_buffer("scale", torch.ones(5))
        self.to(DTYPE)
        self.mask = torch.ones(5, dtype=DTYPE)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x)) * self.scale * self.mask.to(x.dtype))


def assigned(model: Fixed) -> None:
    model.first.weight.data = model.first.weight.data * 2


def scaled(model: Fixed) -> None:
    model.scale = model.scale * 2


def loaded(model: Fixed) -> None:
    model.load_state_dict({name: 2 * value for name, value in model.state_dict().items()}, assign=True)


def masked(model: Fixed) -> None:
    model.mask.mul_(2)


def replaced(model: Fixed) -> None:
    model.last.weight = nn.Parameter(torch.zeros(3, 5, dtype=DTYPE))


def cast(model: Fixed) -> None:
    model.float()


def frozen(model: Fixed) -> None:
    model.requires_grad_(False)


def another_layer(model: Fixed) -> None:
    model.first = nn.Linear(4, 5).to(DTYPE).requires_grad_(False)


def in_training(model: Fixed) -> None:
    model.eval()


@pytest.mark.parametrize("settings", [{}, {"chunk": 4}, {"precision": "float32"}])
@pytest.mark.parametrize(
    "change", [assigned, scaled, loaded, masked, replaced, cast, frozen, another_layer, in_training]
)
def test_it_answers_as_it_was_or_says_what_changed(
    change: Callable[[Fixed], None], settings: dict[str, int | str]
) -> None:
    generator = torch.Generator().manual_seed(1)
    x, t = (torch.randn(9, width, generator=generator, dtype=DTYPE) for width in (4, 3))
    asked = {
        "jvp": lambda at: at.jvp(at.parameters),
        "gradient": lambda at: flat(at.gradient),
        "products": lambda at: flat(at.gauss_newton(at.parameters)),
        "variance": lambda at: torch.tensor(at.variance_l1),
    }
    for ask in asked.values():
        model = Fixed()
        before = ask(hfbench.linearize(model, "least-squares", x, t, **settings))
        at = hfbench.linearize(model, "least-squares", x, t, **settings)
        at.jvp(at.parameters)
        change(model)
        now = answer(partial(ask, at))
        assert "linearised" in now if isinstance(now, str) else torch.equal(now, before)


def answer(ask: Callable[[], Tensor]) -> Tensor | str:
    """What is asked for, or the message that refuses it."""
    try:
        return ask()
    except ConfigError as error:
        return str(error)


def test_a_tensor_in_a_list_that_changes_is_no_missing_derivative() -> None:
    """PyTorch's error of a tensor changed in place must not turn J v to forward mode, at the new tensor."""

    class Listed(Fixed):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(self.last(self.first(x))) * self.masks[0]

    model = Listed()
    model.masks = [torch.ones(3, dtype=DTYPE)]
    x, t = torch.ones(6, 4, dtype=DTYPE), torch.ones(6, 3, dtype=DTYPE)
    at = hfbench.linearize(model, "least-squares", x, t)
    at.jvp(at.parameters)
    model.masks[0].mul_(3)
    for ask in (lambda: at.vjp(t), lambda: at.gauss_newton(at.parameters)):
        with pytest.raises(ConfigError, match="a tensor of it was changed in place"):
            ask()
    assert at.product_mode == "transpose"
