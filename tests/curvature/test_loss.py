"""Losses against PyTorch's own, their Hessians and factors against automatic differentiation."""

from __future__ import annotations

import pytest
import torch
from support.systems import dense_hessian, inputs_for, targets_for

from hfbench.curvature.loss import LOSSES, check_loss, check_targets, mean_loss
from hfbench.errors import ConfigError

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


# ---------------------------------------------------------------- targets

OUTSIDE = r'targets: must lie in \[0, 1\] for loss="logistic", but are from {}: .*loss="least-squares" for regression'
CLASSES = r'must have two classes or more .*for loss="softmax", but have shape {}: take loss="logistic"'
INDICES = r"class indices must lie in \[0, 2\] for outputs of 3 classes, but are from {}: count classes from 0"
SUMS = 'probabilities that sum to 1 .*are numbers from {}: take targets.long.*"least-squares" for regression'


@pytest.mark.parametrize(
    ("loss", "shape", "targets", "message"),
    [
        ("logistic", (2, 2), [[0.0, 1.0], [-0.5, 1.0]], OUTSIDE.format("-0.5 to 1")),
        ("logistic", (2, 2), [[0.0, 1.001], [0.5, 1.0]], OUTSIDE.format("0 to 1.001")),
        ("logistic", (2, 2), [[0, 255], [3, 1]], OUTSIDE.format("0 to 255")),
        ("logistic", (2, 2), [[0.0, float("inf")], [0.5, 1.0]], OUTSIDE.format("0 to inf")),
        ("softmax", (2, 1), [[1.0], [1.0]], CLASSES.format(r"\(2, 1\)")),
        ("softmax", (2, 1), [0, 0], CLASSES.format(r"\(2, 1\)")),
        ("softmax", (2,), [0.5, 0.5], CLASSES.format(r"\(2,\)")),
        ("softmax", (2, 3), [0, 3], INDICES.format("0 to 3")),
        ("softmax", (2, 3), [-100, 1], INDICES.format("-100 to 1")),
        ("softmax", (2, 3), [[0.5, 0.5, 0.1], [1.0, 0.0, 0.0]], SUMS.format("0 to 1 with sums from 1 to 1.1")),
        ("softmax", (2, 3), [[0.5, 0.4, 0.0], [1.0, 0.0, 0.0]], SUMS.format("0 to 1 with sums from 0.9 to 1")),
        ("softmax", (2, 3), [[1.5, -0.5, 0.0], [1.0, 0.0, 0.0]], SUMS.format("-0.5 to 1.5 with sums from 1 to 1")),
        ("softmax", (2, 3), [[1.0], [0.0]], "targets must have the shape of the model's outputs"),
        ("softmax", (2, 3), [[1], [0]], "class indices must have shape"),
    ],
)
def test_targets_that_a_loss_is_not_defined_for(
    loss: str, shape: tuple[int, ...], targets: list[object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_targets(loss, torch.zeros(shape), torch.tensor(targets))


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        ("logistic", torch.tensor([[0.0, 1.0, 0.5]])),
        ("logistic", torch.tensor([[False, True, True]])),
        ("logistic", torch.tensor([[0.0, float("nan"), 0.5]])),
        ("softmax", torch.tensor([2])),
        ("softmax", torch.tensor([2], dtype=torch.uint8)),
        ("softmax", torch.tensor([True])),
        ("softmax", torch.tensor([[0.2, 0.3, 0.50009]])),
        ("softmax", torch.tensor([[0.2, float("nan"), 0.5]])),
        ("least-squares", torch.tensor([[-7.0, 1e6, 0.5]])),
    ],
)
def test_targets_that_a_loss_is_defined_for_are_left_as_they_are(loss: str, targets: torch.Tensor) -> None:
    """NaN among them is for the objective to show."""
    assert check_targets(loss, torch.zeros(1, 3), targets) is targets
