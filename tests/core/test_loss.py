"""Losses against PyTorch's own, their Hessians and factors against automatic differentiation."""

from __future__ import annotations

import pytest
import torch
from systems import dense_hessian, inputs_for, targets_for

from hfbench.errors import ConfigError
from hfbench.loss import LOSSES, check_loss, mean_loss

NAMES = list(LOSSES)


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest):
    z, t = inputs_for(6, 4, 0), targets_for(request.param, 6, 4, 1)
    return request.param, z, t, LOSSES[request.param](z, t)


def torch_total(name: str, z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    functional = torch.nn.functional
    if name == "softmax":
        return functional.cross_entropy(z, t, reduction="sum")
    if name == "logistic":
        return functional.binary_cross_entropy_with_logits(z, t, reduction="sum")
    return 0.5 * functional.mse_loss(z, t, reduction="sum")


def test_value_and_residual(case) -> None:
    name, z, t, at = case
    leaf = z.clone().requires_grad_()
    total = torch_total(name, leaf, t)
    assert at.value().shape == (6,)
    assert float(at.value().sum()) == pytest.approx(float(total.detach()), rel=1e-12)
    torch.testing.assert_close(at.residual(), torch.autograd.grad(total, leaf)[0])
    assert mean_loss(z, t, name) == pytest.approx(float(total.detach()) / 6, rel=1e-12)


def test_hessian_is_the_dense_one(case) -> None:
    name, z, t, at = case
    H = dense_hessian(name, z, t)
    for v in torch.eye(24, dtype=z.dtype):
        torch.testing.assert_close(at.hessian(v.reshape(6, 4)).reshape(-1), H @ v, atol=1e-12, rtol=1e-10)


def test_factor_and_its_transpose(case) -> None:
    """B Bᵀ = H, ⟨Bv, w⟩ = ⟨v, Bᵀw⟩, and B B⁺ r = r for the residual."""
    _, z, _, at = case
    v, w = inputs_for(6, 4, 2), inputs_for(6, 4, 3)
    torch.testing.assert_close(at.factor(at.factor_t(v)), at.hessian(v))
    assert float((at.factor(v) * w).sum()) == pytest.approx(float((v * at.factor_t(w)).sum()))
    torch.testing.assert_close(at.factor(at.factor_inverse(at.residual())), at.residual())


@pytest.mark.parametrize("name", NAMES)
def test_extreme_outputs_stay_finite_in_float32(name: str) -> None:
    """Probabilities that round to 0 or 1 neither vanish under the root nor give NaN."""
    z = torch.tensor([[60.0, -60.0, 0.0], [-80.0, 80.0, 1.0]])
    t = torch.tensor([0, 1]) if name == "softmax" else torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]])
    at = LOSSES[name](z, t)
    for out in (at.value(), at.residual(), at.hessian(torch.ones_like(z)), at.factor_inverse(at.residual())):
        assert torch.isfinite(out).all()


def test_softmax_takes_probabilities_too() -> None:
    z, t = inputs_for(5, 3, 0), targets_for("softmax", 5, 3, 1)
    soft = torch.nn.functional.one_hot(t, 3).double()
    torch.testing.assert_close(LOSSES["softmax"](z, t).value(), LOSSES["softmax"](z, soft).value())


def test_bad_input() -> None:
    with pytest.raises(ConfigError, match="did you mean 'logistic'"):
        check_loss("logistik")
    with pytest.raises(ConfigError, match=r"\(2, 3\).*\(2, 4\)"):
        LOSSES["logistic"](torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ConfigError, match="class indices"):
        LOSSES["softmax"](torch.zeros(2, 3), torch.zeros(2, 1, dtype=torch.long))
