"""What a user would pick instead of a Hessian-free method: Adam and L-BFGS of `torch.optim`, behind the same step.

Problem    minimise f(w) = (1/n) Σ loss(z_i, t_i) + ½ wᵀ(mu D)w, the Hessian-
           free methods' objective: weight decay is part of f and of its
           gradient, not decoupled from it
Source     Kingma and Ba (2015), algorithm 1; Liu and Nocedal (1989) with the
           strong Wolfe line search of Nocedal and Wright (2006), algorithms
           3.5 and 3.6. The implementations are torch's
Cost       one forward and one backward pass (3 units) of every case per
           gradient; no Gauss-Newton products
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, final

import torch
from torch import Tensor, nn

from hfbench.curvature.loss import LOSSES
from hfbench.curvature.model_checks import trainable
from hfbench.curvature.weight_decay import decay_penalty
from hfbench.curvature.work_ledger import Ledger
from hfbench.errors import ConfigError
from hfbench.parts import Integers, Linear, Log, Vector, Within, part


@dataclass(frozen=True)
class FirstOrderStep:
    """One outer iteration of a first-order method."""

    gradient_norm: float  # of the last gradient taken, at the weights before its update
    step_norm: float

    def to_row(self) -> dict[str, Any]:
        return {"gradient_norm": self.gradient_norm, "step_norm": self.step_norm, "objective_after": None}


class FirstOrder:
    """A `torch.optim` optimiser that is given f and its gradient, with every pass counted.

    It goes through the cases a `minibatch` at a time. An optimiser with a `weight_decay` is given mu as that: it adds
    mu D w to the gradient while it reads it, and has no use for f itself, of which its steps then see the loss alone.
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
        self.model, self.loss, self.mu_D, self.ledger = model, LOSSES[loss], mu_D, Ledger()
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
        """Goes once through the cases, a minibatch at a time; `curvature` is of no use here.

        Stops where f is no longer finite, which the errors after the step then show. Raises ConfigError for evidence:
        gradients are taken at other weights for every minibatch.
        """
        if evidence:
            raise ConfigError(
                f"a first-order baseline does not measure {', '.join(evidence)}, which its scheduler needs of every "
                "step: use the scheduler fixed or geometric."
            )
        before = self._w.clone()
        size = self.minibatch or len(inputs)
        for start in range(0, len(inputs), size):
            x, t = inputs[start : start + size], targets[start : start + size]
            value: Any = self.inner.step(partial(self._objective, x, t, last=start + size >= len(inputs)))
            if not math.isfinite(value):
                break
        return FirstOrderStep(self.gradient_norm, (self._w - before).norm())

    def _objective(self, x: Tensor, t: Tensor, last: bool) -> float:
        """f on these cases, its gradient in the weights' `grad`; both without the decay that `inner` adds itself."""
        n = len(x)
        self.ledger.count("forward", n)
        self.ledger.count("backward", n)
        self.inner.zero_grad()
        value = self.loss(self.model(x), t).value().mean(dtype=torch.float64)  # torch's optimisers record gradients
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
    """The weight's gradient: zero, not none, where the model does not use it."""
    if w.grad is None:
        w.grad = torch.zeros_like(w)
    return w.grad


def _groups(weights: list[nn.Parameter], mu_D: tuple[float, ...]) -> list[dict[str, Any]]:
    """The weights of equal mu together, with mu as their `weight_decay`."""
    of = list(zip(weights, mu_D, strict=True))
    return [{"params": [w for w, mu in of if mu == one], "weight_decay": one} for one in dict.fromkeys(mu_D)]


@final
@part
class Adam:
    """Adam on minibatches: Kingma & Ba (2015)."""

    lr: Annotated[float, Log(1e-5, 1e-1), Within("(0, inf)"), "learning rate"] = 1e-3
    minibatch: Annotated[int, Integers(10, 1000, log=True), Within("[1, inf)"), "cases of one update"] = 100
    beta1: Annotated[float, Linear(0.5, 0.99), Within("[0, 1)"), "decay of the mean gradient"] = 0.9
    beta2: Annotated[float, Linear(0.9, 0.9999), Within("[0, 1)"), "decay of the mean square"] = 0.999
    eps: Annotated[float, Log(1e-10, 1e-4), Within("(0, inf)"), "added to the root mean square"] = 1e-8

    def begin(self, model: nn.Module, loss: str, mu_D: tuple[float, ...]) -> FirstOrder:
        """One outer iteration is one pass over the scheduler's cases, in the order drawn."""
        settings: dict[str, Any] = {"lr": self.lr, "betas": (self.beta1, self.beta2), "eps": self.eps}
        fused = all(w.is_contiguous() for w in trainable(model).values())  # otherwise its kernels take wrong entries
        return FirstOrder(model, loss, mu_D, torch.optim.Adam, self.minibatch, **settings, fused=fused or None)


@final
@part
class LBFGS:
    """L-BFGS, strong Wolfe line search: Liu & Nocedal (1989)."""

    lr: Annotated[float, Log(1e-2, 1.0), Within("(0, inf)"), "first step length tried"] = 1.0
    history: Annotated[int, Integers(3, 100, log=True), Within("[1, inf)"), "pairs remembered"] = 20
    updates: Annotated[int, Integers(1, 50, log=True), Within("[1, inf)"), "updates in one outer iteration"] = 10

    def begin(self, model: nn.Module, loss: str, mu_D: tuple[float, ...]) -> FirstOrder:
        """One outer iteration is `updates` updates on the scheduler's cases: give it all of them (gradient = 1.0)."""
        settings: dict[str, Any] = {"lr": self.lr, "history_size": self.history, "max_iter": self.updates}
        exact: dict[str, Any] = {"tolerance_grad": 0.0, "tolerance_change": 0.0, "line_search_fn": "strong_wolfe"}
        return FirstOrder(model, loss, mu_D, torch.optim.LBFGS, **settings, **exact)
