"""Losses, convex in the pre-activation outputs z: value, residual, Hessian and its factor B.

For n cases with outputs z and targets t, a loss is evaluated once per batch and then gives, per case,
    value      loss(z_i, t_i)                                  shape (n,)
    residual   r = d loss / dz                                 shape of z
    hessian    v ↦ H v,  H = d²loss/dz², block-diagonal over cases
    factor     v ↦ B v and factor_t: v ↦ Bᵀ v, with B Bᵀ = H
    factor_inverse: r ↦ B⁺ r
v and r may have more dimensions before that of the cases: several of them at once.

    least-squares ½‖z - t‖²        r = z - t,  B = I
    logistic cross-entropy         p = sigmoid(z), r = p - t,  B = diag(√(p(1-p)))
    softmax cross-entropy          p = softmax(z), r = p - t,  B = diag(√p)(I - q qᵀ), q = √p

The last bracket is a projection, so B Bᵀ = diag(p) - p pᵀ exactly. Square roots of probabilities are taken from
log-probabilities: they stay positive in float32 even if p has rounded to 0 or 1.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from hfbench.errors import ConfigError
from hfbench.messages import quoted
from hfbench.setting_checks import one_of


class LossAt(Protocol):
    """A loss at given outputs and targets."""

    def value(self) -> Tensor: ...
    def residual(self) -> Tensor: ...
    def hessian(self, v: Tensor) -> Tensor: ...
    def factor(self, v: Tensor) -> Tensor: ...
    def factor_t(self, v: Tensor) -> Tensor: ...
    def factor_inverse(self, r: Tensor) -> Tensor: ...


def _per_case(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1).sum(1)


class LeastSquares:
    """½‖z - t‖²."""

    def __init__(self, z: Tensor, targets: Tensor) -> None:
        self.z, self.t = z, _same_shape(targets, z, "least-squares")

    def value(self) -> Tensor:
        return 0.5 * _per_case((self.z - self.t).square())

    def residual(self) -> Tensor:
        return self.z - self.t

    def hessian(self, v: Tensor) -> Tensor:
        return v

    factor = factor_t = factor_inverse = hessian


class Logistic:
    """Σ log(1 + exp z) - t z, summed over a case's outputs; targets in [0, 1]."""

    def __init__(self, z: Tensor, targets: Tensor) -> None:
        self.z, self.t = z, _same_shape(targets, z, "logistic")
        self._kept: tuple[int, Tensor] | None = None

    def value(self) -> Tensor:
        return _per_case(functional.binary_cross_entropy_with_logits(self.z, self.t, reduction="none"))

    def residual(self) -> Tensor:
        return self.z.sigmoid() - self.t

    @property
    def deviation(self) -> Tensor:
        """√(p(1-p)) = ½ / cosh(z/2)."""
        return self._power(1)

    def _power(self, exponent: int) -> Tensor:
        """The deviation or its square; the last one is cached, since a solve uses only one of them."""
        if self._kept is None or self._kept[0] != exponent:
            deviation = (functional.logsigmoid(self.z) + functional.logsigmoid(-self.z)).mul_(0.5).exp_()
            self._kept = exponent, deviation if exponent == 1 else deviation.mul_(deviation)
        return self._kept[1]

    def hessian(self, v: Tensor) -> Tensor:
        return self._power(2) * v

    def factor(self, v: Tensor) -> Tensor:
        return self.deviation * v

    factor_t = factor

    def factor_inverse(self, r: Tensor) -> Tensor:
        return r / self.deviation


class Softmax:
    """-Σ t log softmax(z), the classes along the last dimension, summed over the dimensions between it and the cases.

    Targets are class indices, or probabilities that sum to one.
    """

    def __init__(self, z: Tensor, targets: Tensor) -> None:
        _check_classes(z)
        self.z, self.t = z, _as_probabilities(targets, z)
        self._root: Tensor | None = None

    def value(self) -> Tensor:
        return -_per_case(self.t * self.z.log_softmax(-1))

    def residual(self) -> Tensor:
        return self.z.softmax(-1) - self.t

    @property
    def root(self) -> Tensor:
        """q = √p."""
        if self._root is None:
            self._root = (0.5 * self.z.log_softmax(-1)).exp()
        return self._root

    def _project(self, v: Tensor) -> Tensor:
        q = self.root
        return v - q * (q * v).sum(-1, keepdim=True)

    def hessian(self, v: Tensor) -> Tensor:
        return self.factor(self.factor_t(v))

    def factor(self, v: Tensor) -> Tensor:
        return self.root * self._project(v)

    def factor_t(self, v: Tensor) -> Tensor:
        return self._project(self.root * v)

    def factor_inverse(self, r: Tensor) -> Tensor:
        """B⁺ r for r in the range of B, which holds for residuals: their entries sum to zero."""
        return self._project(r / self.root)


LOSSES: dict[str, type[LeastSquares] | type[Logistic] | type[Softmax]] = {
    "least-squares": LeastSquares,
    "logistic": Logistic,
    "softmax": Softmax,
}


# PyTorch's losses by their names, lower case, letters alone and without the word "loss".
PYTORCH = {
    **dict.fromkeys(("mse",), "least-squares"),
    **dict.fromkeys(("bce", "bcewithlogits", "binarycrossentropy", "binarycrossentropywithlogits"), "logistic"),
    **dict.fromkeys(("crossentropy", "nll"), "softmax"),
}


def check_loss(name: Any) -> str:
    """Returns the name of a known loss. Raises ConfigError for another name, and for PyTorch's losses."""
    if isinstance(name, str) and name in LOSSES:
        return name
    called = name if isinstance(name, str) else getattr(name, "__name__", type(name).__name__)
    known = PYTORCH.get(re.sub("[^a-z]", "", called.lower()).removesuffix("loss"))
    if known is None:
        return one_of(name, LOSSES, "loss")  # it is not
    raise ConfigError(
        f'loss: must be one of {", ".join(LOSSES)}, but got {quoted(name)}: take loss="{known}", and outputs without '
        "an activation."
    )


# ---------------------------------------------------------------- what targets may be

SUM_TO_ONE = 1e-4  # how far the probabilities of a case may be off by rounding


def check_targets(loss: str, z: Tensor, targets: Tensor) -> Tensor:
    """The targets, if the loss is defined for them. NaN passes, and makes the objective NaN.

    A step checks this once per batch, because for other targets the objective has no lower bound, without any sign of
    it. Raises ConfigError for logistic targets outside [0, 1]; with softmax for a single class, for invalid class
    indices, and for probabilities that are negative or do not sum to one within `SUM_TO_ONE`.
    """
    if loss == "logistic":
        _check_within_one(_same_shape(targets, z, loss))
    elif loss == "softmax":
        _check_classes(z)
        if targets.is_floating_point():
            _check_probabilities(_same_shape(targets, z, loss))
        else:
            _check_indices(_one_per_case(targets, z), z.shape[-1])
    return targets


def _check_classes(z: Tensor) -> None:
    """Raises ConfigError unless the shape of the outputs shows that the classes are their last dimension.

    PyTorch's own loss has the classes second, and takes the same shapes of outputs and targets if both are as long.
    """
    if z.dim() < 2 or z.shape[-1] < 2:
        raise ConfigError(
            'outputs: must have two classes or more along their last dimension for loss="softmax", but have shape '
            f'{tuple(z.shape)}: take loss="logistic" for one probability, "least-squares" for regression.'
        )
    if z.dim() > 2 and z.shape[1] == z.shape[-1]:
        raise ConfigError(
            'outputs: must have the classes along their last dimension for loss="softmax", but shape '
            f"{tuple(z.shape)} may have them second, as PyTorch's own loss has: return outputs.unsqueeze(1) with the "
            "classes last (outputs.movedim(1, -1) first if they are second), and give targets.unsqueeze(1)."
        )


def _check_within_one(targets: Tensor) -> None:
    low, high = _range(targets)
    if low < 0 or high > 1:
        raise ConfigError(
            f'targets: must lie in [0, 1] for loss="logistic", but are from {low:.4g} to {high:.4g}: scale them, or '
            'take loss="least-squares" for regression.'
        )


def _check_indices(targets: Tensor, classes: int) -> None:
    low, high = _range(targets)
    if low < 0 or high >= classes:
        raise ConfigError(
            f"targets: class indices must lie in [0, {classes - 1}] for outputs of {classes} classes, but are from "
            f"{low:.0f} to {high:.0f}: count classes from 0, leave cases without one out, or give the model more "
            "outputs."
        )


def _check_probabilities(targets: Tensor) -> None:
    low, high = _range(targets)
    least, most = _range(targets.sum(-1))
    if low < 0 or least < 1 - SUM_TO_ONE or most > 1 + SUM_TO_ONE:
        raise ConfigError(
            "targets: must be class indices or probabilities that sum to 1 over the last dimension, the classes, for "
            f'loss="softmax", but are numbers from {low:.4g} to {high:.4g} with sums from {least:.4g} to {most:.4g}: '
            'take targets.long() of indices, loss="least-squares" for regression, "logistic" for labels side by side.'
        )


def _range(values: Tensor) -> tuple[float, float]:
    low, high = torch.stack(values.aminmax()).tolist()  # one transfer from an accelerator
    return low, high


def _same_shape(targets: Tensor, z: Tensor, loss: str) -> Tensor:
    if targets.shape != z.shape:
        raise ConfigError(
            f'targets: must have the shape of the model\'s outputs, {tuple(z.shape)}, for loss="{loss}", but have '
            f"{tuple(targets.shape)}{_shape_advice(targets, z, loss)}."
        )
    return targets.to(z.dtype)


def _shape_advice(targets: Tensor, z: Tensor, loss: str) -> str:
    """Remedy if a dimension of length 1 is missing or too many, or if the targets may be class labels; else empty."""
    if z.shape == (*targets.shape, 1):
        return f": take targets.unsqueeze({targets.dim()})"
    if targets.shape == (*z.shape, 1):
        return f": take targets.squeeze({z.dim()})"
    labels = z.shape[:-1]
    if targets.shape not in (labels, (*labels, 1)):
        return ""
    calls = "" if targets.shape == labels else f".squeeze({len(labels)})"
    calls += ".long()" if targets.is_floating_point() else ""
    wanted = ['loss="softmax"'] * (loss != "softmax") + [f"targets{calls}"] * bool(calls)
    return f": take {' and '.join(wanted)} for class labels"


def _one_per_case(targets: Tensor, z: Tensor) -> Tensor:
    if targets.shape != z.shape[:-1]:
        wanted = tuple(z.shape[:-1])
        raise ConfigError(
            f"targets: class indices must have shape {wanted}, that of the outputs without their last dimension, the "
            f"classes, but have {tuple(targets.shape)}{_advice(targets, z)}."
        )
    return targets.long()


def _advice(targets: Tensor, z: Tensor) -> str:
    """Remedy for the usual reasons why class indices have another shape; else empty."""
    if targets.shape == z.shape:
        return ": take targets.float() of ones and zeros"
    if targets.shape == (*z.shape[:-1], 1):
        return f": take targets.squeeze({z.dim() - 1})"
    if targets.shape == (z.shape[0], *z.shape[2:]):
        return ": return outputs.movedim(1, -1) if the outputs have the classes second, as for PyTorch's own loss"
    return ""


def _as_probabilities(targets: Tensor, z: Tensor) -> Tensor:
    if not targets.is_floating_point():
        targets = functional.one_hot(_one_per_case(targets, z), z.shape[-1])
    return _same_shape(targets, z, "softmax")


def mean_loss(z: Tensor, targets: Tensor, loss: str) -> float:
    """(1/n) Σ loss(z_i, t_i), summed over cases in float64."""
    with torch.no_grad():
        return float(LOSSES[loss](z, targets).value().mean(dtype=torch.float64))
