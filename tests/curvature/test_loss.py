"""Losses against PyTorch's own, their Hessians and factors against automatic differentiation."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.systems import dense_hessian, inputs_for, targets_for
from torch import nn

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


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (nn.CrossEntropyLoss(), "softmax"), (nn.CrossEntropyLoss, "softmax"), (nn.functional.cross_entropy, "softmax"),
        (nn.NLLLoss(), "softmax"), ("CrossEntropyLoss", "softmax"), ("cross-entropy", "softmax"),
        (nn.BCEWithLogitsLoss(), "logistic"), (nn.BCELoss(), "logistic"), ("bce", "logistic"),
        (nn.functional.binary_cross_entropy_with_logits, "logistic"),
        (nn.MSELoss(), "least-squares"), (nn.functional.mse_loss, "least-squares"), ("mse", "least-squares"),
    ],
)  # fmt: skip
def test_pytorchs_losses_are_refused_with_the_name_of_ours(given: Any, name: str) -> None:
    with pytest.raises(ConfigError, match=f'loss: must be one of .*: take loss="{name}", and outputs without an'):
        check_loss(given)


@pytest.mark.parametrize("given", [nn.HuberLoss(), lambda z, t: z - t, None, 3, ["softmax"], {"use": "softmax"}])
def test_what_is_no_loss(given: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"loss: must be one of least-squares, logistic, softmax, but got .*\.$"
    ) as raised:
        check_loss(given)
    assert "take loss" not in str(raised.value)


# ---------------------------------------------------------------- the dimension of the classes


def test_classes_are_the_last_dimension() -> None:
    """PyTorch's own loss has them second; places between are summed."""
    z = inputs_for(6, 20, 0).reshape(6, 4, 5)
    t = torch.randint(5, (6, 4), generator=torch.Generator().manual_seed(1))
    theirs = nn.functional.cross_entropy(z.movedim(-1, 1), t, reduction="none").sum(1)
    torch.testing.assert_close(LOSSES["softmax"](z, t).value(), theirs)
    one_hot = nn.functional.one_hot(t, 5).double()
    torch.testing.assert_close(LOSSES["softmax"](z, one_hot).value(), theirs)


SHAPES = [(6, 5, 5), (6, 5, 2, 5)]
AMBIGUOUS = (
    r"outputs: must have the classes along their last dimension .*may have them second, .*outputs.unsqueeze\(1\)"
)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("one_hot", [False, True])
def test_classes_that_may_be_second_are_refused(shape: tuple[int, ...], one_hot: bool) -> None:
    """By every way to the loss, for indices and probabilities; `unsqueeze(1)` tells, and gives PyTorch's value."""
    z = inputs_for(6, math.prod(shape[1:]), 0).reshape(shape)
    t = torch.randint(5, shape[:-1], generator=torch.Generator().manual_seed(1))
    targets = nn.functional.one_hot(t, 5).double() if one_hot else t
    with pytest.raises(ConfigError, match=AMBIGUOUS):
        check_targets("softmax", z, targets)
    with pytest.raises(ConfigError, match=AMBIGUOUS):
        mean_loss(z, targets, "softmax")
    z, targets = z.unsqueeze(1), targets.unsqueeze(1)
    assert check_targets("softmax", z, targets) is targets
    theirs = nn.functional.cross_entropy(z[:, 0].movedim(-1, 1), t, reduction="sum") / 6
    assert mean_loss(z, targets, "softmax") == pytest.approx(float(theirs), rel=1e-12)


def test_class_indices_of_another_order_are_refused_with_what_to_do() -> None:
    z = torch.zeros(6, 5, 4)
    with pytest.raises(ConfigError, match=r"shape \(6, 5\), .*but have \(6, 4\): return outputs.movedim\(1, -1\)"):
        check_targets("softmax", z, torch.zeros(6, 4, dtype=torch.long))
    with pytest.raises(ConfigError, match=r"but have \(6, 5, 4\): take targets.float\(\) of ones and zeros"):
        check_targets("softmax", z, torch.zeros(6, 5, 4, dtype=torch.long))


# ---------------------------------------------------------------- targets

OUTSIDE = r'targets: must lie in \[0, 1\] for loss="logistic", but are from {}: .*loss="least-squares" for regression'
CLASSES = r'must have two classes or more .*for loss="softmax", but have shape {}: take loss="logistic"'
INDICES = r"class indices must lie in \[0, 2\] for outputs of 3 classes, but are from {}: count classes from 0"
SHAPE = r"""targets: must have the shape of the model's outputs, \(.*\), for loss="{}", but have \([\d, ]*\)"""
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
        ("softmax", (2, 3), [[1.0], [0.0]], SHAPE.format("softmax") + r": take targets.squeeze\(1\).long\(\)"),
        ("softmax", (2, 3), [1.0, 0.0], SHAPE.format("softmax") + r": take targets.long\(\) for class labels\.$"),
        ("softmax", (2, 3), [1.0, 0.0, 2.0], SHAPE.format("softmax") + r"\.$"),
        ("softmax", (2, 3), [[1], [0]], r"class indices must have .* have \(2, 1\): take targets.squeeze\(1\)\.$"),
        ("logistic", (2, 3), [1, 0], SHAPE.format("logistic") + ': take loss="softmax" for class labels'),
        ("logistic", (2, 1), [1.0, 0.0], SHAPE.format("logistic") + r": take targets.unsqueeze\(1\)\.$"),
        ("logistic", (2,), [[1.0], [0.0]], SHAPE.format("logistic") + r": take targets.squeeze\(1\)\.$"),
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
