"""Weights given by name: models that reach theirs otherwise, share their memory or write into them are refused."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

import hfbench
from hfbench import HessianFree
from hfbench.curvature.objective import objective
from hfbench.curvature.weights_by_name import CASES, check_memory, check_reached_by_name
from hfbench.errors import ConfigError

DTYPE = torch.float64
LOSS = "least-squares"


def batch(cases: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, t = (torch.randn(cases, width, generator=generator, dtype=DTYPE) for width in (6, 3))
    return x, t


class Autoencoder(nn.Module):
    """6 - 3, with what a test adds before the second layer's product."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(6, 3), nn.Linear(3, 3)
        self.to(DTYPE)


class InAList(Autoencoder):
    """Layers in a plain list, their weights in a ParameterList beside it, so that an optimiser sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(3, 3).to(DTYPE)]
        self.seen = nn.ParameterList(p for layer in self.layers for p in layer.parameters())

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.layers[0](torch.tanh(self.first(x)))))


class ListOfWeights(Autoencoder):
    def __init__(self) -> None:
        super().__init__()
        self.weights = [self.first.weight, self.second.weight]

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(torch.tanh(functional.linear(x, self.weights[0])), self.weights[1], self.second.bias)


class Transposed(Autoencoder):
    def __init__(self, detached: bool = False) -> None:
        super().__init__()
        weight = self.first.weight
        self.transposed = (weight.data if detached else weight).t()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(x @ self.transposed))


class TransposedData(Transposed):
    """A view without a graph: nothing but a move of the weights shows it."""

    def __init__(self) -> None:
        super().__init__(detached=True)


class Closure(Autoencoder):
    def __init__(self) -> None:
        super().__init__()
        weight = self.first.weight
        self.product = lambda x: x @ weight.t()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.product(x)))


class Cached(Autoencoder):
    """An effective weight with its graph, made once."""

    def __init__(self) -> None:
        super().__init__()
        self.effective = 2.0 * self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(functional.linear(x, self.effective)))


OTHERWISE: dict[type[nn.Module], str] = {
    InAList: "'seen.0', 'seen.1' are",
    ListOfWeights: "'first.weight', 'second.weight' are",
    Transposed: "'first.weight' is",
    TransposedData: "'first.weight' is",
    Closure: "'first.weight' is",
    Cached: "'first.weight' is",
}


@pytest.mark.parametrize("kind", OTHERWISE)
def test_parameters_that_are_reached_otherwise_are_named(kind: type[nn.Module]) -> None:
    model, (x, t) = kind(), batch()
    before = copy.deepcopy(model.state_dict())
    optimizer = HessianFree(model, LOSS)
    with pytest.raises(ConfigError, match=f"by name, but {OTHERWISE[kind]} reached otherwise"):
        optimizer.step(x, t)
    with pytest.raises(ConfigError, match=f"{OTHERWISE[kind]} reached otherwise"):
        hfbench.linearize(model, LOSS, x, t)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert optimizer.ledger.work == 0


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, 3))
    model[2].weight = model[0].weight
    return model


class TiedTransposed(Autoencoder):
    def forward(self, x: Tensor) -> Tensor:
        return self.second(functional.linear(functional.linear(x, self.first.weight), self.first.weight.t())[:, :3])


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x.view(-1, 3, 2))[0][:, -1])


RIGHT: dict[str, Callable[[], nn.Module]] = {
    "tied": tied,
    "tied transposed": TiedTransposed,
    "recurrent": Recurrent,
    "weight norm": lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(6, 4)), nn.Tanh(), nn.Linear(4, 3)),
    "frozen part": lambda: nn.Sequential(nn.Linear(6, 4).requires_grad_(False), nn.Tanh(), nn.Linear(4, 3)),
    "one storage, apart": lambda: Halves(4),
}


class Halves(nn.Module):
    """Two parameters in one storage of 18 entries, the second one from `start`."""

    def __init__(self, start: int) -> None:
        super().__init__()
        base = torch.linspace(-1, 1, 6 * 6, dtype=DTYPE).view(6, 6)
        self.a, self.b = nn.Parameter(base[:, :3]), nn.Parameter(base[:, start - 1 : start + 2])

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.a) + x @ self.b


@pytest.mark.parametrize("name", RIGHT)
def test_the_claimed_objective_is_that_of_the_moved_model(name: str) -> None:
    torch.manual_seed(0)
    model, (x, t) = RIGHT[name]().to(DTYPE), batch()
    optimizer = HessianFree(model, LOSS)
    for _ in range(3):
        result = optimizer.step(x, t)
        with torch.no_grad():
            real = 0.5 * float((model(x) - t).square().sum()) / len(x)
        assert result.objective_after == pytest.approx(real, rel=1e-12)
        assert result.objective_after < result.objective_before


# ---------------------------------------------------------------- memory


def test_parameters_in_one_place_are_refused() -> None:
    model = Autoencoder()
    model.second.weight.data = model.first.weight.data.t()[:3]
    with pytest.raises(ConfigError, match="'first.weight' and 'second.weight' must not share memory"):
        HessianFree(model, LOSS)
    with pytest.raises(ConfigError, match="'a' and 'b' must not share memory"):
        HessianFree(Halves(3), LOSS)
    expanded = nn.Parameter(torch.zeros(1, 3).expand(2, 3))
    with pytest.raises(ConfigError, match="entries of parameter 'w' must each have a place in memory"):
        check_memory({"w": expanded})
    dense = torch.zeros(4, 3)
    check_memory({"w": nn.Parameter(dense.t()), "v": nn.Parameter(torch.zeros(0)), "u": nn.Parameter(torch.zeros(0))})
    with pytest.raises(ConfigError, match="'w' and 'v' must not share"):
        check_memory({"w": nn.Parameter(dense), "v": nn.Parameter(dense.t())})


# ---------------------------------------------------------------- forward passes that write


class Masked(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        self.weight.data *= torch.ones(3, 6, dtype=DTYPE).tril()
        return super().forward(x)


class Clipped(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.weight.clamp_(-0.1, 0.1)
        return super().forward(x)


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(7, 3, max_norm=0.7), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.words(x).mean(1))


WRITING: dict[str, Callable[[], nn.Module]] = {
    "masked": lambda: nn.Sequential(Masked(6, 3), nn.Tanh(), nn.Linear(3, 3)),
    "clipped": lambda: nn.Sequential(Clipped(6, 3), nn.Tanh(), nn.Linear(3, 3)),
    "max_norm": Words,
}


def masked_already() -> nn.Module:
    """Masked weights stay as they are in a pass, but the derivatives do not know of the mask."""
    model = WRITING["masked"]()
    model[0].weight.data *= torch.ones(3, 6).tril()
    return model


WRITING["masked already"] = masked_already


def writing(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    x, t = batch()
    if name == "max_norm":
        x = torch.randint(0, 7, (12, 4), generator=torch.Generator().manual_seed(2))
    return WRITING[name]().to(DTYPE), x, t


@pytest.mark.parametrize("name", WRITING)
def test_a_forward_pass_that_writes_into_weights_is_refused_and_they_stay(name: str) -> None:
    model, x, t = writing(name)
    before = copy.deepcopy(model.state_dict())
    for targets in (t, torch.full_like(t, torch.nan)):
        with pytest.raises(ConfigError, match="must not change the weights, but it changed .*weight"):
            HessianFree(model, LOSS).step(x, targets)
        assert all(torch.equal(value, before[of]) for of, value in model.state_dict().items())
        with pytest.raises(ConfigError, match="must not change the weights"):
            hfbench.linearize(model, LOSS, x, targets)
    assert all(torch.equal(value, before[of]) for of, value in model.state_dict().items())


def test_what_forward_writes_later_moves_no_weights_either() -> None:
    """At the first step nothing is beyond the limits; later a failing step must leave the weights as they were."""
    model = nn.Sequential(Limited(6, 3), nn.Tanh(), nn.Linear(3, 3)).to(DTYPE)
    x, t = batch()
    optimizer = HessianFree(model, LOSS)
    optimizer.step(x, t)
    with torch.no_grad():
        model[0].weight[0, 0] = 80.0
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ConfigError, match=r"must not change the weights, but it changed 0\.weight"):
        optimizer.step(x, t)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Limited(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        self.weight.data.clamp_(-50, 50)
        return super().forward(x)


# ---------------------------------------------------------------- tied


def twice() -> nn.Module:
    """One layer at two places of a chain."""
    torch.manual_seed(0)
    layer = nn.Linear(6, 6)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(6, 3)).to(DTYPE)


class Repeated(nn.Module):
    """One layer three times in a list, with a buffer, as in ALBERT."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers, self.last = nn.ModuleList([nn.Linear(6, 6)] * 3), nn.Linear(6, 3)
        self.register_buffer("scale", torch.full((6,), 0.9))
        self.to(DTYPE)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.tanh(layer(x)) * self.scale
        return self.last(x)


class InTwoModules(nn.Module):
    """One parameter in two modules, once for what it is and once transposed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.last = nn.Linear(6, 3)
        self.to(DTYPE)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.second(torch.tanh(self.first(x)))))


@pytest.mark.parametrize("settings", [{}, {"chunk": 5}, {"precision": "float32"}])
@pytest.mark.parametrize("make", [twice, Repeated, InTwoModules])
def test_what_is_tied_by_being_the_same_object_stays_so_and_is_right(
    make: Callable[[], nn.Module], settings: dict[str, int | str]
) -> None:
    model, (x, t) = make(), batch()
    own = dict(model.named_parameters(remove_duplicate=False))
    v = [torch.randn(p.shape, generator=torch.Generator().manual_seed(3), dtype=DTYPE) for p in model.parameters()]
    exact = moved_along(model, v, x)
    at = hfbench.linearize(model, LOSS, x, t, **settings)
    tolerance = 1e-5 if "precision" in settings else 1e-8
    assert torch.allclose(at.jvp(v), exact, rtol=0, atol=tolerance * float(exact.abs().max()))
    assert objective(model, LOSS, x, t) == pytest.approx(loss_at(model, x, t), rel=1e-12)
    assert at.variance_l1 > 0
    optimizer = HessianFree(model, LOSS, preconditioner="martens")
    for _ in range(3):
        before, step = loss_at(model, x, t), optimizer.step(x, t)
        assert step.objective_before == pytest.approx(before, rel=1e-12)
        assert step.objective_after == pytest.approx(loss_at(model, x, t), rel=1e-12)
        assert step.objective_after < before
    for name, parameter in model.named_parameters(remove_duplicate=False):
        assert parameter is own[name]


@torch.no_grad()
def moved_along(model: nn.Module, v: list[Tensor], x: Tensor, size: float = 1e-6) -> Tensor:
    """J v by a central difference, the weights really moved."""

    def outputs(by: float) -> Tensor:
        for p, direction in zip(model.parameters(), v, strict=True):
            p.add_(direction, alpha=by)
        return model(x).clone()

    ahead, behind = outputs(size), outputs(-2 * size)
    outputs(size)
    return (ahead - behind) / (2 * size)


@torch.no_grad()
def loss_at(model: nn.Module, x: Tensor, t: Tensor) -> float:
    return float((model(x) - t).square().sum() / (2 * len(x)))


# ---------------------------------------------------------------- cost


def test_it_takes_two_passes_of_four_cases() -> None:
    model, (x, _) = Autoencoder(), batch()
    seen: list[int] = []
    model.forward = lambda x: (seen.append(len(x)), model.second(torch.tanh(model.first(x))))[1]
    check_reached_by_name(model, x[:CASES])
    assert seen == [4, 4]
