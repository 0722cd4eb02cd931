"""Adapter of `torch.optim` optimisers to the step of studies: supplies f and its gradient, and counts every pass."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from hfbench.curvature.loss import LOSSES, check_loss, check_targets
from hfbench.curvature.model_checks import check_batch, outputs_of, trainable
from hfbench.curvature.pass_units import units_of
from hfbench.curvature.weight_decay import decay_penalty
from hfbench.curvature.work_ledger import Ledger
from hfbench.errors import ConfigError, HfbenchError
from hfbench.messages import count
from hfbench.parts import Horizon, Vector

from .counted_hessian import CountedHessian
from .learning_rates import LearningRates, updates_of
from .plain_state import as_it_was, as_plain
from .rounded_passes import passes_in

TRIED = 20  # updates of a copy, of which the pace is told
PATIENCE = 2.0  # seconds that they may take

Build = Callable[[list[nn.Parameter]], list[Optimizer]]


@dataclass(frozen=True)
class FirstOrderStep:
    """Record of one outer iteration of a first-order method."""

    gradient_norm: float  # of the last gradient taken, at the weights before its update
    step_norm: float
    precision: str  # of the passes forward and back

    def to_row(self) -> dict[str, Any]:
        return {
            "gradient_norm": self.gradient_norm, "step_norm": self.step_norm, "objective_after": None,
            "precision": self.precision,
        }  # fmt: skip


class FirstOrder:
    """Optimisers of `torch.optim` that get f and its gradient; every pass is counted.

    The first of those that `build` makes from the weights may evaluate f as often as it likes; others move their
    weights along the same gradient. They go through the cases in minibatches of `minibatch`. With `adds_decay`, the
    optimiser has mu as its `weight_decay`: it adds mu D w to the gradient itself, and its steps see the loss only.
    `create_graph` keeps the graph of the gradient, for optimisers that take products with the Hessian.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: str,
        mu_D: tuple[float, ...],
        build: Build,
        minibatch: int | None = None,
        *,
        rates: LearningRates = LearningRates(),  # noqa: B008  (frozen)
        precision: str = "parameters",
        adds_decay: bool = False,
        create_graph: bool = False,
    ) -> None:
        self.model, self.loss, self.mu_D, self.ledger = model, check_loss(loss), mu_D, Ledger()
        self.weights, self.minibatch, self.gradient_norm = list(trainable(model).values()), minibatch, math.nan
        self.build, self.rates, self.precision = build, rates, precision
        self.decays, self.create_graph = adds_decay, create_graph
        self.inner, *self.others = build(self.weights)
        self.schedulers: list[LRScheduler] = []
        self.horizon: Horizon | None = None
        self.updates, self.last_update = 0, 0  # made, and of the schedule; 0 until it is known
        self.has_moved = False
        self.draws = _random_states(self.weights[0].device, seed=0)
        self._passes = passes_in(precision, model, self.weights[0])

    # ------------------------------------------------------------ the length of the run

    def expect(self, horizon: Horizon, draws: torch.Generator) -> None:
        """Tells how long the run is, and where its random numbers come from."""
        self.rates.check(horizon)
        seed = int(torch.randint(2**62, (), generator=draws))
        self.horizon, self.draws = horizon, _random_states(self.weights[0].device, seed)

    def prepare(
        self,
        inputs: Tensor,
        targets: Tensor,
        curvature: tuple[Tensor, Tensor] | None = None,
        evidence: Collection[str] = (),
    ) -> None:
        """Finds how many updates the run has, by the pace of a copy, and begins the schedule of the learning rate.

        Raises ConfigError if there is a schedule and the length of the run is not known.
        """
        if not self.rates.needs_horizon or self.last_update:
            return
        if self.horizon is None:
            raise ConfigError(
                "schedule: must know how long the run is; call expect(Horizon({'iterations': n}, cases), generator)."
            )
        check_batch(inputs, targets)
        size = self.minibatch or len(inputs)
        pace = self._copy().pace(inputs, targets)
        self._begin_schedule(updates_of(self.horizon, *pace, iteration=math.ceil(len(inputs) / size)))

    def _begin_schedule(self, updates: int) -> None:
        self.last_update = self.rates.length(updates)
        self.schedulers = self.rates.begin([self.inner, *self.others], self.last_update)

    def _copy(self) -> FirstOrder:
        model = copy.deepcopy(self.model)
        return FirstOrder(
            model, self.loss, self.mu_D, self.build, self.minibatch, precision=self.precision,
            adds_decay=self.decays, create_graph=self.create_graph,
        )  # fmt: skip

    def pace(self, inputs: Tensor, targets: Tensor) -> tuple[float, float]:
        """Work and seconds of an update, from some on these cases, which move the weights."""
        self.ledger.units = units_of(self.model, inputs)
        since, times = time.perf_counter(), [0.0]
        batches = list(self._minibatches(inputs, targets))
        with self._own_draws():
            while len(times) <= TRIED and (times[-1] < PATIENCE or len(times) <= 2):
                self._update(*batches[len(times) % len(batches)], last=False)
                times.append(time.perf_counter() - since)
        made = len(times) - 1
        first = 1 if made > 1 else 0  # it may compile, and allocate
        return self.ledger.work / made, (times[-1] - times[first]) / (made - first)

    # ------------------------------------------------------------ steps

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
        self.prepare(inputs, targets)
        before = self._w.clone()
        batches = list(self._minibatches(inputs, targets))
        with self._own_draws(), self._averaged_weights_put_back():
            for index, (x, t) in enumerate(batches):
                if not math.isfinite(self._update(x, t, last=index == len(batches) - 1)):
                    break
        moved = before.add_(self._w, -1.0).norm()
        self.has_moved |= moved > 0
        if not self.has_moved and self.updates > 1 and self.gradient_norm > 0:  # SOAP begins with its second update
            raise HfbenchError(
                f"{type(self.inner).__name__} must move the weights, but left them as they were in its first "
                f"{count(self.updates, 'update')}, with a gradient of norm {self.gradient_norm:.3g}."
            )
        return FirstOrderStep(self.gradient_norm, moved, self._precision)

    def _minibatches(self, inputs: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        size = self.minibatch or len(inputs)
        for start in range(0, len(inputs), size):
            yield inputs[start : start + size], targets[start : start + size]

    def _update(self, x: Tensor, t: Tensor, last: bool) -> float:
        """One update of every optimiser. The value is that of f before it."""
        values: list[float] = []

        def closure() -> float:
            values.append(self._objective(x, t, last=last))
            return values[-1]

        with self._graph_explained():
            self.inner.step(closure)
        if not values:
            raise HfbenchError(
                f"{type(self.inner).__name__}.step must call the closure that it is given, which returns f and leaves "
                "the gradient in the weights' `grad`, but did not."
            )
        for other in self.others:
            other.step()
        if self.create_graph:
            self.inner.zero_grad()  # the graph goes
        self.updates += 1
        if self.updates < self.last_update:
            for scheduler in self.schedulers:
                scheduler.step()
        return values[0]

    @contextmanager
    def _graph_explained(self) -> Iterator[None]:
        """Says what an optimiser lacks that differentiates a gradient without graph."""
        try:
            yield
        except RuntimeError as error:
            if self.create_graph or "does not require grad" not in str(error):
                raise
            raise HfbenchError(
                f"{type(self.inner).__name__} differentiates the gradient, which must have its graph for that: set "
                "create_graph = true."
            ) from error

    def _objective(self, x: Tensor, t: Tensor, last: bool) -> float:
        """f on these cases, its gradient being in the weights' `grad`; both without the decay that `inner` adds."""
        n = len(x)
        self.ledger.count("forward", n)
        self.ledger.count("backward", n)
        for optimizer in (self.inner, *self.others):
            optimizer.zero_grad()
        with torch.enable_grad():
            with self._passes():
                z = outputs_of(self._outputs, x, self.weights)
            value = LOSSES[self.loss](z, check_targets(self.loss, z.detach(), t)).value().mean(dtype=torch.float64)
            if self.create_graph:
                return self._with_graph(value, n, last)
            torch.autograd.backward(value)
        g = Vector(_gradient(w) for w in self.weights)
        f = value.item()
        if not self.decays:
            for block, w, mu in zip(g, self._w, self.mu_D, strict=True):
                block.add_(w, alpha=mu)
            if not _takes_gradient_alone(self.inner):
                f += decay_penalty(self._w, self.mu_D)
        if last or not math.isfinite(f):
            self.gradient_norm = (g.add(self._w, self.mu_D) if self.decays else g).norm()
        return f

    def _outputs(self, x: Tensor) -> Tensor:
        """The model's outputs in the weights' dtype."""
        z: Tensor = self.model(x)
        return z.to(self.weights[0].dtype) if self.precision == "bfloat16" and isinstance(z, Tensor) else z

    def _with_graph(self, value: Tensor, n: int, last: bool) -> float:
        """f, its gradient with a graph being in the weights' `grad`. Every product with the Hessian is counted."""
        g = torch.autograd.grad(value, self.weights, create_graph=True, materialize_grads=True)
        counted = CountedHessian(self.ledger, n)
        for w, block, mu in zip(self.weights, g, self.mu_D, strict=True):
            w.grad = counted(block + mu * w if mu else block)
        f = value.item() + decay_penalty(self._w, self.mu_D)
        if last or not math.isfinite(f):
            self.gradient_norm = Vector(w.grad.detach() for w in self.weights if w.grad is not None).norm()
        return f

    @contextmanager
    def _averaged_weights_put_back(self) -> Iterator[None]:
        """Between steps the weights are those to judge: schedule-free methods take steps at others."""
        both: list[Any] = [self.inner, *self.others]
        averaging = [optimizer for optimizer in both if {"train", "eval"} <= set(dir(optimizer))]
        for optimizer in averaging:
            optimizer.train()
        yield
        for optimizer in averaging:
            optimizer.eval()

    @contextmanager
    def _own_draws(self) -> Iterator[None]:
        """Random numbers of the optimiser's own stream, so that those of others do not move."""
        device = self.weights[0].device
        before = _random_states(device)
        _set_random_states(device, self.draws)
        try:
            yield
        finally:
            self.draws = _random_states(device)
            _set_random_states(device, before)

    @property
    def _w(self) -> Vector:
        return Vector(w.detach() for w in self.weights)

    @property
    def _precision(self) -> str:
        dtype = torch.bfloat16 if self.precision == "bfloat16" else self.weights[0].dtype
        return str(dtype).removeprefix("torch.")

    # ------------------------------------------------------------ checkpoints

    def state_dict(self) -> dict[str, Any]:
        return {
            "optimizers": [as_plain(optimizer.state_dict()) for optimizer in (self.inner, *self.others)],
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "updates": self.updates,
            "last_update": self.last_update,
            "draws": self.draws,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.updates, self.draws = state_dict["updates"], state_dict["draws"]
        self.has_moved = True
        if state_dict["last_update"]:
            self._begin_schedule(state_dict["last_update"])
        for optimizer, state in zip((self.inner, *self.others), state_dict["optimizers"], strict=True):
            optimizer.load_state_dict(as_it_was(state, type(optimizer).__module__.partition(".")[0]))
        for scheduler, state in zip(self.schedulers, state_dict["schedulers"], strict=True):
            scheduler.load_state_dict(state)


def _random_states(device: torch.device, seed: int | None = None) -> list[Tensor]:
    """The states of the generators of CPU and device, as they are or as a seed leaves them."""
    kinds = ["cpu"] if device.type == "cpu" else ["cpu", str(device)]
    if seed is not None:
        return [torch.Generator(kind).manual_seed(seed).get_state() for kind in kinds]
    states = [torch.get_rng_state()]
    return states if len(kinds) == 1 else [*states, torch.get_device_module(device).get_rng_state(device)]


def _set_random_states(device: torch.device, states: Sequence[Tensor]) -> None:
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.get_device_module(device).set_rng_state(state, device)


def _gradient(w: nn.Parameter) -> Tensor:
    """The weight's gradient, which is zero, not None, if the model does not use the weight."""
    w.grad = torch.zeros_like(w) if w.grad is None else w.grad.contiguous()  # L-BFGS reads it as one long vector
    return w.grad


def _takes_gradient_alone(optimizer: Optimizer) -> bool:
    """Whether it makes no use of the value of f, as all of torch's own but L-BFGS: it is spared the pass for decay."""
    return type(optimizer).__module__.startswith("torch.optim") and not isinstance(optimizer, torch.optim.LBFGS)


def decay_groups(weights: Sequence[nn.Parameter], mu_D: tuple[float, ...]) -> list[dict[str, Any]]:
    """Groups of the weights with equal mu, which is their `weight_decay`."""
    of = list(zip(weights, mu_D, strict=True))
    return [{"params": [w for w, mu in of if mu == value], "weight_decay": value} for value in dict.fromkeys(mu_D)]
