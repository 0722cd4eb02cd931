"""Adapter of `torch.optim` optimisers to the step of studies: supplies f and its gradient, and counts every pass."""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hfbench.curvature.loss import LOSSES, check_loss, check_targets
from hfbench.curvature.model_checks import check_batch, outputs_of, trainable
from hfbench.curvature.weight_decay import decay_penalty
from hfbench.curvature.work_ledger import Ledger
from hfbench.errors import ConfigError
from hfbench.parts import Vector


@dataclass(frozen=True)
class FirstOrderStep:
    """Record of one outer iteration of a first-order method."""

    gradient_norm: float  # of the last gradient taken, at the weights before its update
    step_norm: float

    def to_row(self) -> dict[str, Any]:
        return {"gradient_norm": self.gradient_norm, "step_norm": self.step_norm, "objective_after": None}


class FirstOrder:
    """A `torch.optim` optimiser that gets f and its gradient; every pass is counted.

    It goes through the cases in minibatches of `minibatch`. An optimiser with a `weight_decay` gets mu as that: it adds
    mu D w to the gradient itself, and does not use f, of which its steps then see the loss only.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: str,
        mu_D: tuple[float, ...],
        inner: type[torch.optim.Optimizer],
        minibatch: int | None = None,
        **settings: Any,
    ) -> None:
        self.model, self.loss, self.mu_D, self.ledger = model, check_loss(loss), mu_D, Ledger()
        self.weights, self.minibatch, self.gradient_norm = list(trainable(model).values()), minibatch, math.nan
        self.decays = "weight_decay" in inspect.signature(inner).parameters
        self.inner = inner(_groups(self.weights, mu_D) if self.decays else self.weights, **settings)

    def step(
        self,
        inputs: Tensor,
        targets: Tensor,
        curvature: tuple[Tensor, Tensor] | None = None,
        evidence: Collection[str] = (),
    ) -> FirstOrderStep:
        """Goes once through the cases in minibatches; `curvature` is not used.

        It stops when f is no longer finite; the errors after the step then show it. Raises ConfigError for evidence,
        because the gradient of every minibatch is taken at other weights.
        """
        if evidence:
            raise ConfigError(
                f"a first-order baseline does not measure {', '.join(evidence)}, which its scheduler needs of every "
                "step: use the scheduler fixed or geometric."
            )
        check_batch(inputs, targets)
        before = self._w.clone()
        size = self.minibatch or len(inputs)
        for start in range(0, len(inputs), size):
            x, t = inputs[start : start + size], targets[start : start + size]
            value: Any = self.inner.step(partial(self._objective, x, t, last=start + size >= len(inputs)))
            if not math.isfinite(value):
                break
        return FirstOrderStep(self.gradient_norm, (self._w - before).norm())

    def _objective(self, x: Tensor, t: Tensor, last: bool) -> float:
        """f on these cases, its gradient being in the weights' `grad`; both without the decay that `inner` adds."""
        n = len(x)
        self.ledger.count("forward", n)
        self.ledger.count("backward", n)
        self.inner.zero_grad()
        z = outputs_of(self.model, x, self.weights)  # torch's optimisers record gradients
        value = LOSSES[self.loss](z, check_targets(self.loss, z.detach(), t)).value().mean(dtype=torch.float64)
        torch.autograd.backward(value)
        g = Vector(_gradient(w) for w in self.weights)
        f = value.item()
        if not self.decays:
            f += decay_penalty(self._w, self.mu_D)
            g = g.add(self._w, self.mu_D)
            for w, block in zip(self.weights, g, strict=True):
                w.grad = block.contiguous()  # L-BFGS reads it as one long vector
        if last or not math.isfinite(f):
            self.gradient_norm = (g.add(self._w, self.mu_D) if self.decays else g).norm()
        return f

    @property
    def _w(self) -> Vector:
        return Vector(w.detach() for w in self.weights)

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.inner.load_state_dict(state_dict)


def _gradient(w: nn.Parameter) -> Tensor:
    """The weight's gradient, which is zero, not None, if the model does not use the weight."""
    if w.grad is None:
        w.grad = torch.zeros_like(w)
    return w.grad


def _groups(weights: list[nn.Parameter], mu_D: tuple[float, ...]) -> list[dict[str, Any]]:
    """Groups of the weights with equal mu, which is their `weight_decay`."""
    of = list(zip(weights, mu_D, strict=True))
    return [{"params": [w for w, mu in of if mu == value], "weight_decay": value} for value in dict.fromkeys(mu_D)]
