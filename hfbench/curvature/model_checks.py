"""Checks of a model, its batches and its outputs that prevent a wrong curvature.

The Gauss-Newton matrix, the reduction ratio and the line search all assume that f(w) is a function of the weights and
a mean over cases. Noise in the forward pass, batch statistics and hooks that change gradients violate this silently, so
they raise errors. This module checks what the model itself shows; `hfbench.curvature.model_trial` checks what shows
only when the model runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parameter import UninitializedParameter

from hfbench.errors import ConfigError
from hfbench.messages import quoted

DTYPES = (torch.float32, torch.float64)
EVAL = "call model.eval() for the step (or set its probability to 0)"

# ---------------------------------------------------------------- the model


def check_model(model: Any) -> None:
    """Raises ConfigError unless it is a plain module with trained parameters of one precision on one device."""
    if not isinstance(model, nn.Module):
        raise ConfigError(
            f"model: must be an nn.Module, but got {_kind(model)}. Pass the model itself, HessianFree(model, …), not "
            "model.parameters(): the curvature needs its forward pass. Parameters to be left alone: "
            "requires_grad_(False) before."
        )
    for name, module in model.named_modules():
        if remedy := _unwrap(module):
            raise ConfigError(
                f"{_where(name)} must be a plain nn.Module, but is {_kind(module)}, whose forward pass cannot be "
                f"given other weights or differentiated twice: {remedy}."
            )
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.weight.requires_grad:
            if module.sparse:
                raise ConfigError(f"{_where(name)} has sparse gradients, but vectors are dense: take sparse=False.")
            if module.scale_grad_by_freq:
                raise ConfigError(
                    f"{_where(name)} divides its gradients by how often a word occurs in the batch, so that they are "
                    "not the derivatives of its outputs: take scale_grad_by_freq=False."
                )
    for name, parameter in model.named_parameters():
        if fault := _unusable(parameter):
            raise ConfigError(f"parameter {quoted(name)} {fault}.")
    _check_uniform({name: p for name, p in model.named_parameters() if p.requires_grad})


def _unwrap(module: nn.Module) -> str:
    """Advice on the module to pass instead of a wrapper; empty for other modules."""
    if isinstance(module, torch.jit.ScriptModule):
        return "pass the Python module it was scripted or traced from"
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return "pass the module inside, model.module; one device computes the step"
    if type(module).__name__ == "FullyShardedDataParallel":
        return "pass an unsharded module; one device computes the step"
    return ""


def _unusable(parameter: nn.Parameter) -> str:
    if isinstance(parameter, UninitializedParameter):
        return "is not initialised: call the model once on some inputs, then construct HessianFree"
    if parameter.is_meta:
        return "is on the meta device and has no values: initialise the model on a real device first"
    if parameter.is_inference():
        return "was made under torch.inference_mode and cannot be differentiated: make the model outside of it"
    if not parameter.requires_grad:
        return ""
    if parameter.layout != torch.strided or type(parameter).__name__ == "DTensor":
        return "must be an ordinary dense tensor, but is sparse or sharded: pass a dense model that one device holds"
    if parameter.dtype not in DTYPES:
        known = " or ".join(str(dtype) for dtype in DTYPES)
        return (
            f"must be {known}, but is {parameter.dtype}: solving for a step loses all its digits in half precision, "
            "and is not defined for complex weights; use model.float(), or requires_grad_(False) on it"
        )
    return ""


def _check_uniform(trained: dict[str, nn.Parameter]) -> None:
    for what, mend in (("dtype", "model.float() or model.double()"), ("device", "model.to(device)")):
        of = {name: getattr(p, what) for name, p in trained.items()}
        first = next(iter(of), "")
        other = next((name for name in of if of[name] != of[first]), None)
        if other is not None:
            raise ConfigError(
                f"trained parameters must share one {what}, but {quoted(first)} has {of[first]} and {quoted(other)} "
                f"{of[other]}: use {mend} before."
            )


# ---------------------------------------------------------------- its layers, as they are set now


SUSPECTS = (
    *(_DropoutNd, _BatchNorm, _InstanceNorm, nn.RReLU, nn.RNNBase, nn.MultiheadAttention),
    *(nn.FractionalMaxPool2d, nn.FractionalMaxPool3d),
)


def check_layers(model: nn.Module, trained: Mapping[str, nn.Parameter]) -> tuple[bool, ...]:
    """The layers' modes. Raises ConfigError for layers that are random or mix cases, and for gradient hooks."""
    modes = []
    for module in model.modules():
        if isinstance(module, SUSPECTS) and (fault := _fault(module)):
            raise ConfigError(f"{_where(_name_of(module, model))} ({type(module).__name__}) {fault}")
        if module._backward_hooks or module._backward_pre_hooks:
            raise ConfigError(_hooked(_where(_name_of(module, model))))
        modes.append(module.training)
    for name, parameter in trained.items():
        if parameter._backward_hooks:
            raise ConfigError(_hooked(f"parameter {quoted(name)}"))
    return tuple(modes)


def _fault(module: nn.Module) -> str | None:
    """Reason why a layer is not a function of each case alone, with the remedy; None if it is."""
    on = module.training
    if isinstance(module, _DropoutNd):
        return _noise(f"drops entries at random (p={module.p})", EVAL) if on and module.p > 0 else None
    if isinstance(module, _BatchNorm):
        if not on and module.running_mean is not None:
            return None
        mend = "call model.eval() for the step" if module.track_running_stats else "use GroupNorm or LayerNorm"
        return f"normalises by the statistics of the batch, but cases must not depend on one another: {mend}."
    if isinstance(module, _InstanceNorm):
        changes = on and module.running_mean is not None
        return "changes its running statistics at each pass: call model.eval() for the step." if changes else None
    if isinstance(module, nn.RReLU):
        return _noise("draws its slopes at random", "call model.eval() for the step") if on else None
    if isinstance(module, nn.RNNBase):
        drops = on and module.dropout > 0 and module.num_layers > 1
        return _noise(f"drops entries at random (dropout={module.dropout})", EVAL) if drops else None
    if isinstance(module, nn.MultiheadAttention):
        return _noise(f"drops entries at random (dropout={module.dropout})", EVAL) if on and module.dropout else None
    if isinstance(module, nn.FractionalMaxPool2d | nn.FractionalMaxPool3d):
        given = module._random_samples is not None
        return None if given else _noise("pools at random places in every mode", "give it _random_samples")
    return None


def _noise(does: str, mend: str) -> str:
    return f"{does}, but the objective must be the same function at every pass of a step: {mend}."


def _hooked(where: str) -> str:
    return (
        f"{where} has a gradient hook, which would be called with every product Jᵀu and may change it: remove it for "
        "the step (handle.remove())."
    )


# ---------------------------------------------------------------- batches and outputs


def check_batch(inputs: Any, targets: Any, parameter: Tensor | None = None) -> None:
    """Raises ConfigError unless both are dense tensors with as many cases, at least one, on the parameters' device.

    Targets must be real.
    """
    for name, given in (("inputs", inputs), ("targets", targets)):
        if isinstance(given, Tensor) and (given.layout != torch.strided or given.is_nested):
            kind = "nested" if given.is_nested else str(given.layout)
            mend = "pad the cases to one shape" if given.is_nested else f"use {name}.to_dense()"
            raise ConfigError(f"{name}: must be a dense tensor, but got one of layout {kind}: {mend}.")
        if not isinstance(given, Tensor) or given.dim() == 0:
            what = "a tensor of no dimensions" if isinstance(given, Tensor) else _kind(given)
            raise ConfigError(
                f"{name}: must be one tensor, cases along its first dimension, but got {what}.{_hint(given)}"
            )
    if len(inputs) == 0 or len(inputs) != len(targets):
        raise ConfigError(
            f"inputs and targets must be equally many and not empty, but are {len(inputs)} and {len(targets)}."
        )
    if targets.is_complex():
        raise ConfigError(
            f"targets: must be real, since every loss is, but are {targets.dtype}: give real and imaginary parts side "
            "by side (torch.view_as_real), and have the model give them so."
        )
    if parameter is None:
        return
    for name, given in (("inputs", inputs), ("targets", targets)):
        if given.device != parameter.device:
            raise ConfigError(
                f"{name}: must be on the model's device, {parameter.device}, but are on {given.device}: use "
                f"{name}.to({quoted(str(parameter.device))})."
            )
        if given.is_inference():
            raise ConfigError(f"{name}: were made under torch.inference_mode and cannot be differentiated: clone them.")


def _hint(given: Any) -> str:
    if callable(given):
        return " HessianFree takes no closure: it runs the model itself, optimizer.step(inputs, targets)."
    if given is None:
        return " HessianFree runs the model and takes its gradient itself: optimizer.step(inputs, targets)."
    if isinstance(given, tuple | list | dict):
        return (
            " For a model of several inputs, wrap it in a module that takes them as one tensor (or trains on a fixed "
            "second one) and splits it in forward."
        )
    return " Use torch.as_tensor."


def outputs_of(call: Callable[[Tensor], Any], inputs: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """call(inputs), checked, for a model or its caller. An error due to the inputs' dtype or to a single case says so.

    A model may cast its inputs, look up integers, or have frozen layers of another precision, so that only the pass
    shows the error.
    """
    try:
        z = call(inputs)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, IndexError) as error:
        said = " ".join(str(error).split())
        if len(inputs) == 1 and _runs(call, torch.cat((inputs, inputs))):
            raise ConfigError(
                f"the model must run on one case alone, as chunks may be, but fails on it ({said}): squeeze no case "
                "away; name the dimension, as in outputs.squeeze(-1)."
            ) from error
        if reason := _reason_in_dtype(call, inputs, parameters[0].dtype, isinstance(error, IndexError), said):
            raise ConfigError(f"inputs: {reason}") from error
        raise
    return check_outputs(z, len(inputs), parameters)


def _reason_in_dtype(
    call: Callable[[Tensor], Any], inputs: Tensor, wanted: torch.dtype, at_index: bool, said: str
) -> str:
    """Reason why a model fails on these inputs, if their dtype or their integers are to blame; else empty."""
    given = inputs.dtype
    if given.is_complex:
        return f"must be real where the model takes no complex ones, but are {given}, with which it fails ({said})."
    if at_index:
        if given.is_floating_point or "index out of range" not in said:
            return ""
        low, high = (int(end) for end in inputs.long().aminmax())
        return (
            "integers must be rows that the model's tables have, such as 0 to num_embeddings - 1 for nn.Embedding, but "
            f"are from {low} to {high}, with which it fails ({said})."
        )
    if given != wanted and _runs(call, inputs.to(wanted)):
        return (
            f"must have the dtype of the trained parameters, {wanted}, where the model does not cast them, but have "
            f"{given}, with which it fails ({said}): use inputs.to({wanted})."
        )
    if given != torch.int64 and _runs(call, inputs.long()):
        return f"must be integers for this model, but are {given}, with which it fails ({said}): use inputs.long()."
    return ""


@torch.no_grad()
def _runs(call: Callable[[Tensor], Any], inputs: Tensor) -> bool:
    """True if the call accepts these inputs."""
    try:
        call(inputs)
    except (RuntimeError, IndexError):
        return False
    return True


def check_outputs(z: Any, cases: int, parameters: Sequence[Tensor]) -> Tensor:
    """The outputs, if they are one tensor with a row per case that depends on the parameters, in their precision."""
    if not isinstance(z, Tensor):
        raise ConfigError(
            f"the model's outputs must be one tensor of pre-activations, cases first, but are {_kind(z)}: wrap the "
            "model in a module whose forward returns that tensor alone."
        )
    if z.dim() == 0 or len(z) != cases:
        raise ConfigError(
            f"the model's outputs must have the cases as their first dimension, {cases} here, but have shape "
            f"{tuple(z.shape)}: leave the loss and means over cases to HessianFree, and squeeze no case away."
        )
    if z.dtype != parameters[0].dtype:
        raise ConfigError(
            f"the model's outputs must have its parameters' dtype, {parameters[0].dtype}, but have {z.dtype}: cast "
            "nothing inside the model, and use no autocast."
        )
    if torch.is_grad_enabled() and not z.requires_grad:
        raise ConfigError(
            "the model's outputs must depend on a trained parameter, but carry no gradient: does its forward detach "
            "them, or run under torch.no_grad?"
        )
    return z


def check_context(device: torch.device) -> None:
    """Raises ConfigError inside inference_mode or autocast, where derivatives are missing or rounded to half."""
    if torch.is_inference_mode_enabled():
        raise ConfigError(
            "a step or a linearisation cannot be made inside torch.inference_mode, which records no derivatives: leave "
            "it, or use torch.no_grad, which they overrule."
        )
    if torch.is_autocast_enabled(device.type):
        raise ConfigError(
            f"a step or a linearisation cannot be made inside torch.autocast({quoted(device.type)}): curvature in half "
            "precision loses the digits that a step is solved for. Call it outside of it; evaluation may stay inside."
        )


# ---------------------------------------------------------------- names


def _where(name: str) -> str:
    return f"layer {quoted(name)} of the model" if name else "the model"


def _name_of(module: nn.Module, model: nn.Module) -> str:
    return next((name for name, submodule in model.named_modules() if submodule is module), "")


def _kind(given: Any) -> str:
    kind = type(given)
    known = kind.__module__ == "builtins" or isinstance(given, Tensor | nn.Module)
    name: str = kind.__name__
    return name if known else f"{kind.__module__}.{name}"


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are optimised, by name, in the model's order."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not parameters:
        raise ConfigError("the model must have parameters with requires_grad=True, but has none.")
    return parameters
