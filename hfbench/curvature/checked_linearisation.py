"""`linearize`: a model linearised for a caller, after the checks of model, batch and memory."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hfbench.curvature.double_backward import twice_differentiable
from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.loss import check_loss
from hfbench.curvature.model_checks import check_batch, check_context, check_layers, check_model, trainable
from hfbench.curvature.model_trial import try_out
from hfbench.curvature.recorded_passes import check_chunk
from hfbench.curvature.weights_by_name import check_reached_by_name, weights_changed
from hfbench.errors import ConfigError
from hfbench.memory.byte_sizes import bytes_of
from hfbench.memory.forecast import plan_of, resident_bytes


def linearize(
    model: nn.Module,
    loss: str,
    inputs: Tensor,
    targets: Tensor,
    *,
    chunk: int | None = None,
    max_bytes: int | str | None = None,
    layout: str = "structured",
    precision: str = "parameters",
) -> Linearisation:
    """The model linearised at its present weights on a batch, with the loss "least-squares", "logistic" or "softmax".

    `chunk` streams the batch in chunks of so many cases. `max_bytes` (such as "4GB") chooses the chunk such that
    weights, batch and the tensors of a product or moment stay below it. With `layout` "flat", vectors have one long
    block. `precision` is that of the products: "parameters" (that of the weights), "auto", "float64", "float32", "tf32"
    or "bfloat16".

    It answers at these weights, of which it keeps a copy, whatever is written into the model's own later.

    Raises ConfigError for an unknown loss, targets that the loss is not defined for, a precision that this machine does
    not support, a limit too small for one case, and a model whose curvature would be wrong, such as one with dropout in
    training mode or with parameters that forward reaches other than by name. Products raise it if the batch was changed
    in place, or if forward writes into the weights. `value` raises NonFiniteError if the outputs are not finite.
    """
    check_model(model)
    check_layers(model, trainable(model))
    first = next(iter(trainable(model).values()))
    check_context(first.device)
    check_batch(inputs, targets, first)
    loss, chunk = check_loss(loss), check_chunk(chunk)
    settings: dict[str, Any] = {"layout": layout, "precision": precision}
    if (limit := bytes_of(max_bytes)) is not None:
        held = resident_bytes(model, (inputs, targets))
        chunk = plan_of(partial(_use, model, loss, settings), inputs, targets, held, chunk, limit).chunk
    _try_out(model, loss, inputs, targets)
    at = Linearisation(model, loss, inputs, targets, chunk=chunk, **settings)
    _ = at.loss_at  # checks the targets
    return at


def _try_out(model: nn.Module, loss: str, inputs: Tensor, targets: Tensor) -> None:
    """As `try_out`, for a model that may take batches of one size only: then its weights alone are tried."""
    try:
        try_out(model, loss, inputs, targets)
    except (ConfigError, torch.OutOfMemoryError):
        raise
    except Exception:
        with twice_differentiable(model):
            if names := check_reached_by_name(model, inputs.detach().clone()):
                raise ConfigError(weights_changed(names)) from None


def _use(
    model: nn.Module, loss: str, settings: dict[str, Any], inputs: Tensor, targets: Tensor, chunk: int | None
) -> None:
    """Uses everything of a linearisation once."""
    at = Linearisation(model, loss, inputs, targets, chunk=chunk, **settings)
    at.gauss_newton(at.gradient)
    at.vjp(at.jvp(at.gradient))
    at.squared_sums(at.residual)
    at.squared_norms(at.residual)
