"""Checks of a model during training: it is still the model that was given, and a function of each case.

Properties that the model itself shows are checked at every step (`hfbench.curvature.model_checks`). Properties that
show only when it runs are tried on a few cases at the first step, and again after train() or eval():
    twice the same outputs       no noise of the model's own; bit for bit on a CPU, up to rounding on an accelerator
    no buffer changed            no running statistics or counters
    no random number drawn       noise too rare to show in two passes
    no weight changed            no masks, clamps or norms that forward writes into its parameters
    weights reached by name      other weights given by name change the outputs as they do in the model itself
    each case by itself          its outputs do not change when the other cases are left out
    the same by its layers       no hook of all modules changes what a chain of them computes
    ⟨u, J v⟩ = ⟨Jᵀu, v⟩          no backward pass with an unrecorded part, no hook inside
These passes are not part of the method and are not counted in the work ledger. Weights and buffers are left as they
were. Random numbers are looked for in this thread's operations, so that other threads may draw from the generators.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hfbench.curvature.double_backward import twice_differentiable
from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.model_checks import check_batch, check_context, check_layers, check_model, outputs_of, trainable
from hfbench.curvature.random_draws import draws_undone
from hfbench.curvature.weights_by_name import (
    changed,
    check_memory,
    check_reached_by_name,
    few_of,
    own_weights,
    weights_changed,
)
from hfbench.errors import ConfigError
from hfbench.linalg.vector import Vector

TOLERANCE = {torch.float32: 1e-2, torch.float64: 1e-6}  # above any rounding, TF32's too; below what a fault amounts to

NOISE = "model.eval() does for layers, training=self.training for functional.dropout"

Traits = tuple[torch.Size, torch.dtype, torch.device]


class Guard:
    """The checks of one model, made at construction and before each step."""

    def __init__(self, model: nn.Module) -> None:
        check_model(model)
        self.model, self.trained = model, trainable(model)
        check_memory(self.trained)
        self.traits = [_traits(p) for p in self.trained.values()]
        self.tried: tuple[bool, ...] | None = None  # the layers' modes when the model was last tried

    def check(self, loss: str, inputs: Any, targets: Any, curvature: Any = None) -> None:
        """Raises ConfigError if a step on these cases would be wrong."""
        first = next(iter(self.trained.values()))
        check_context(first.device)
        check_batch(inputs, targets, first)
        if curvature is not None:
            if not isinstance(curvature, tuple | list) or len(curvature) != 2:
                raise ConfigError(
                    f"curvature: must be a pair (inputs, targets) or None, but got {type(curvature).__name__}."
                )
            x, t = curvature
            check_batch(x, t, first)
        self._check_same()
        modes = check_layers(self.model, self.trained)
        if modes != self.tried and try_out(self.model, loss, inputs, targets):
            self.tried = modes

    def _check_same(self) -> None:
        """Raises unless the trained parameters are still those given, with the same shapes, precision and device."""
        now = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        again = "construct HessianFree anew; load_state_dict carries damping and warm start over"
        if now.keys() != self.trained.keys():
            added = ", ".join(name for name in now if name not in self.trained) or "none"
            gone = ", ".join(name for name in self.trained if name not in now) or "none"
            raise ConfigError(
                "the trained parameters must be those that HessianFree was constructed with, but since then some were "
                f"frozen or removed ({gone}) or unfrozen or added ({added}): set requires_grad before, and "
                "construct HessianFree anew."
            )
        for (name, p), traits in zip(now.items(), self.traits, strict=True):
            if p is not self.trained[name]:
                raise ConfigError(f"parameter {name!r} was replaced by another one since the construction: {again}.")
            if _traits(p) != traits:
                raise ConfigError(
                    f"parameter {name!r} was a tensor of {_of(traits)} at the construction and is now of "
                    f"{_of(_traits(p))}: convert or move the model first, then {again}."
                )


def _traits(p: Tensor) -> Traits:
    return p.shape, p.dtype, p.device


def _of(traits: Traits) -> str:
    shape, dtype, device = traits
    return f"shape {tuple(shape)}, {dtype}, on {device}"


# ---------------------------------------------------------------- by behaviour


def try_out(model: nn.Module, loss: str, inputs: Tensor, targets: Tensor) -> bool:
    """Tries the model on a few cases. Raises ConfigError for the faults in the module's docstring.

    Returns False if the trial is not conclusive: for a single case, or for outputs that are not finite, which the step
    itself reports.
    """
    x, t = few_of(inputs.detach()), few_of(targets)
    with _weights_kept(model), twice_differentiable(model):
        try:
            z = _check_forward(model, x)
        except (ConfigError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            error.add_note(f"(raised by the model on {len(x)} of the {len(inputs)} cases, tried before the first step)")
            raise
        if names := check_reached_by_name(model, x):
            raise ConfigError(weights_changed(names))
        if not bool(z.isfinite().all()):
            return False
        at = Linearisation(model, loss, x, t)
        if not _agree(at.outputs, z, TOLERANCE[z.dtype]):
            raise ConfigError(
                "the model must compute what its layers do one after the other, but gives other outputs: a hook "
                "registered for all modules (torch.nn.modules.module.register_module_forward_hook) changes them. "
                "Remove it for the step."
            )
        check_products(at)
    return len(x) > 1


@contextmanager
def _weights_kept(model: nn.Module) -> Iterator[None]:
    """Puts the weights back if a pass wrote into the model's own, which it must have reached otherwise than by name."""
    trained, before = trainable(model), own_weights(model)
    try:
        yield
    finally:
        with torch.no_grad():
            for name in changed(trained, before):
                trained[name].copy_(before[name])


@torch.no_grad()
def _check_forward(model: nn.Module, x: Tensor) -> Tensor:
    """The outputs of these cases, after the checks of the forward pass."""
    with draws_undone(x.device) as draws:
        z = _pass(model, x)
        again = _pass(model, x)
    if not _agree(again, z, 0.0 if x.device.type == "cpu" else TOLERANCE[z.dtype]):
        raise ConfigError(
            "the model must be deterministic, but two passes on the same cases gave different outputs: switch its "
            f"noise off, {NOISE}, and let it keep no state between passes."
        )
    if draws.found:
        raise ConfigError(
            f"the model must be deterministic, but its forward pass draws random numbers: switch that off, {NOISE}."
        )
    _check_cases_apart(model, x, z)
    return z


def _pass(model: nn.Module, x: Tensor) -> Tensor:
    """The outputs. The pass uses copies of weights and buffers, which it must not change."""
    used = own_weights(model) | {name: buffer.clone() for name, buffer in model.named_buffers()}
    trained = trainable(model)
    z = outputs_of(lambda inputs: functional_call(model, used, (inputs,)), x, list(trained.values()))
    if names := changed(trained, used):
        raise ConfigError(weights_changed(names))
    if names := [name for name, buffer in model.named_buffers() if not _agree(used[name], buffer, 0.0)]:
        raise ConfigError(
            f"the forward pass must not change the model, but it changed the buffers {', '.join(names)}: a step "
            "makes many passes, which would leave another model than they measured. Call model.eval() for the step, or "
            "keep statistics outside of forward."
        )
    return z


def _check_cases_apart(model: nn.Module, x: Tensor, z: Tensor) -> None:
    """Raises unless the outputs of the other cases stay the same without the first and the last case."""
    inner = slice(1, -1) if len(x) > 2 else slice(0, 1)
    if len(x) > 1 and not _agree(_pass(model, x[inner]), z[inner], TOLERANCE[z.dtype], float(z.abs().max())):
        raise ConfigError(
            "the model's outputs for a case must not depend on the other cases of the batch, but they change when "
            "those are left out. Statistics of the batch do that, and layers that take another dimension for the "
            "cases (nn.LSTM, nn.MultiheadAttention without batch_first=True)."
        )


def _agree(a: Tensor, b: Tensor, tolerance: float, scale: float | None = None) -> bool:
    """True if equal up to tolerance·scale, by default max |b|; NaN agrees with NaN."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    same = (a == b) | ((a != a) & (b != b))
    if tolerance == 0 or bool(same.all()):
        return bool(same.all())
    most = float(b.abs().max()) if scale is None else scale
    return bool(((a - b).abs() <= tolerance * most).logical_or_(same).all())


def check_products(at: Linearisation) -> None:
    """Raises ConfigError unless ⟨u, J v⟩ = ⟨Jᵀu, v⟩ for a random v and u along J v, where a missing part shows."""
    generator = torch.Generator().manual_seed(0)
    v = Vector(torch.randn(p.shape, generator=generator, dtype=p.dtype, device="cpu").to(p.device) for p in at.blocks)
    u = at.jvp(v)
    left = float(u.norm(dtype=torch.float64))
    if left == 0:
        return
    right = v.dot(at.vjp(u / left))  # of unit length: saturated units must not make it underflow
    if abs(left - right) > TOLERANCE[u.dtype] * max(left, abs(right)):
        raise ConfigError(
            f"products with J and Jᵀ must be each other's transposes, but ⟨u, J v⟩ = {left:.6g} and ⟨Jᵀu, v⟩ = "
            f"{right:.6g}. A hand-written backward pass that detaches what it computes does that (write it in "
            "differentiable operations, or mark it @once_differentiable and give it a jvp), or a hook that changes "
            "gradients inside forward (remove it)."
        )
