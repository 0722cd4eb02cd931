"""Trial of a model on a few cases, for faults that show only when it runs.

    twice the same outputs       no noise of the model's own; bit for bit on a CPU, up to rounding on an accelerator
    no buffer changed            no running statistics or counters
    no random number drawn       noise too rare to show in two passes
    no weight or input changed   no masks, clamps or norms that forward writes into its parameters or its inputs
    no parameter made            no layers that are constructed in forward
    weights reached by name      other weights given by name change the outputs as they do in the model itself
    each case by itself          its outputs do not change when the other cases are left out
    the same by its layers       no hook of all modules changes what a chain of them computes
    ⟨u, J v⟩ = ⟨Jᵀu, v⟩          no backward pass with an unrecorded part, no hook inside
These passes are not part of the method and are not counted in the work ledger. Weights and buffers are left as they
were. Random numbers are looked for in this thread's operations, so that other threads may draw from the generators.
A fault that none of the cases shows is not found.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from hfbench.curvature.double_backward import twice_differentiable
from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.model_checks import outputs_of, trainable
from hfbench.curvature.random_draws import draws_undone
from hfbench.curvature.weights_by_name import (
    changed,
    check_reached_by_name,
    few_of,
    outputs_with,
    own_weights,
    weights_changed,
)
from hfbench.errors import ConfigError
from hfbench.linalg.vector import Vector

TOLERANCE = {torch.float32: 1e-2, torch.float64: 1e-6}  # above any rounding, TF32's too; below what a fault amounts to

NOISE = "model.eval() does for layers, training=self.training for functional.dropout"


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
    """The outputs. The pass uses copies of weights, buffers and inputs, which it must not change."""
    x = x.clone()
    version = x._version
    used = own_weights(model) | {name: buffer.clone() for name, buffer in model.named_buffers()}
    trained = trainable(model)
    z = outputs_of(lambda inputs: outputs_with(model, used, inputs), x, list(trained.values()))
    if x._version != version:
        raise ConfigError(
            "the forward pass must not change its inputs, which are read again, but wrote into them: take "
            "inplace=False in the first layer, or clone them first."
        )
    if trainable(model).keys() != trained.keys():
        made = ", ".join(map(repr, trainable(model).keys() - trained.keys()))
        raise ConfigError(
            f"the model's parameters must be there before its first forward pass, but that made {made}: call the model "
            "once on some inputs before."
        )
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
