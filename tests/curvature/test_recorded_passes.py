"""Passes: which graphs there are, and what is made of them when the gradient has the precision of products."""

from __future__ import annotations

import pytest
import torch
from support.systems import inputs_for, network, targets_for
from torch import nn

import hfbench
from hfbench import HessianFree
from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.work_ledger import Ledger
from hfbench.errors import ConfigError
from hfbench.linalg import precision
from hfbench.linalg.vector import Vector


@pytest.fixture(autouse=True)
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every CPU had it, in layers of any size."""
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    monkeypatch.setattr(precision, "NARROW", 0)


def chain() -> nn.Module:
    return network((6, 8, 3), 0, torch.float32)


def general() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3))


def mixed() -> nn.Module:
    """A layer with Kronecker factors, one with places, and one of another kind."""
    torch.manual_seed(0)
    layers = nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 2), nn.GroupNorm(2, 4), nn.Tanh(), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(8, 3))


def at(model: nn.Module, gradient_precision: str, ledger: Ledger | None = None, **settings: object) -> Linearisation:
    x, t = inputs_for(20, 6, 1).float(), targets_for("logistic", 20, 3, 2).float()
    return Linearisation(
        model, "logistic", x, t, precision="bfloat16", gradient_precision=gradient_precision, ledger=ledger, **settings
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [chain, general])
@pytest.mark.parametrize("chunk", [None, 7])
def test_a_gradient_in_the_precision_of_products_is_rounded_like_them(make: object, chunk: int | None) -> None:
    model = make()  # type: ignore[operator]
    plain, low = (at(model, name, chunk=chunk) for name in ("parameters", "products"))
    assert low.gradient[0].dtype == low.outputs.dtype == low.residual.dtype == torch.float32
    off = float((low.gradient - plain.gradient).norm() / plain.gradient.norm())
    assert 1e-4 < off < 3e-2
    assert low.value == pytest.approx(plain.value, rel=1e-2)
    assert float((low.gauss_newton(plain.gradient) - plain.gauss_newton(plain.gradient)).norm()) <= 2e-2 * float(
        plain.gauss_newton(plain.gradient).norm()
    )


@pytest.mark.parametrize("make", [chain, general])
def test_one_pass_serves_gradient_and_products(make: object) -> None:
    passes = {}
    for name in ("parameters", "products"):
        ledger = Ledger()
        system = at(make(), name, ledger)  # type: ignore[operator]
        _ = system.gradient
        system.keep_for_products()
        system.gauss_newton(system.gradient)
        passes[name] = ledger.state_dict()["forward"]
    assert passes == {"parameters": 40, "products": 20}


@pytest.mark.parametrize("make", [chain, general, mixed])
@pytest.mark.parametrize("chunk", [None, 7])
def test_second_moments_are_those_of_a_rounded_pass(make: object, chunk: int | None) -> None:
    model = make()  # type: ignore[operator]
    plain, low = (at(model, name, chunk=chunk) for name in ("parameters", "products"))
    u = plain.loss_at.factor(plain.signs(torch.Generator().manual_seed(0)))
    pairs = [(plain.squared_sums(u), low.squared_sums(u))]
    for factors in zip(plain.kronecker_factors([u]), low.kronecker_factors([u]), strict=True):
        exact, rounded = (Vector(factor.tensors) for factor in factors)
        assert type(factors[0]) is type(factors[1])
        pairs.append((exact, rounded))
    for exact, rounded in pairs:
        assert float((rounded - exact).norm()) < 4e-2 * float(exact.norm())
        assert rounded[0].dtype == torch.float32
    assert low.squared_norms(u) == pytest.approx(plain.squared_norms(u), rel=4e-2)


@pytest.mark.parametrize("preconditioner", ["kfac", "chapelle-erhan", "martens", "exact-diagonal"])
@pytest.mark.parametrize("make", [chain, general, mixed])
def test_every_preconditioner_serves_a_rounded_pass(make: object, preconditioner: str) -> None:
    x, t = inputs_for(60, 6, 1).float(), targets_for("logistic", 60, 3, 2).float()
    optimizer = HessianFree(
        make(), globalization={"initial_damping": 1.0}, preconditioner=preconditioner,  # type: ignore[operator]
        precision="bfloat16", gradient_precision="products",
    )  # fmt: skip
    results = [optimizer.step(x, t) for _ in range(3)]
    assert results[-1].objective_after < results[0].objective_before


def test_where_products_have_the_weights_precision_it_changes_nothing() -> None:
    model, x, t = chain(), inputs_for(20, 6, 1).float(), targets_for("logistic", 20, 3, 2).float()
    plain, same = (
        Linearisation(model, "logistic", x, t, gradient_precision=name) for name in ("parameters", "products")
    )
    assert all(torch.equal(a, b) for a, b in zip(plain.gradient, same.gradient, strict=True))


def test_steps_train_with_it_and_other_names_are_refused() -> None:
    x, t = inputs_for(60, 6, 1).float(), targets_for("logistic", 60, 3, 2).float()
    settings = {"initial_damping": 1.0}
    optimizer = HessianFree(chain(), globalization=settings, precision="bfloat16", gradient_precision="products")
    results = [optimizer.step(x, t) for _ in range(5)]
    assert results[-1].objective_after < 0.95 * results[0].objective_before
    with pytest.raises(ConfigError, match="gradient_precision.*parameters.*products"):
        HessianFree(chain(), gradient_precision="bfloat16")


def test_the_first_cases_of_a_pass_are_as_recorded_alone() -> None:
    model = chain()
    whole = at(model, "products")
    part = whole.first(5)
    alone = hfbench.linearize(model, "logistic", whole.inputs[:5], whole.targets[:5], precision="bfloat16")
    assert part.kept is not None
    assert torch.allclose(part.outputs, alone.outputs, atol=2e-2)
    assert float((part.gradient - alone.gradient).norm() / alone.gradient.norm()) < 3e-2
