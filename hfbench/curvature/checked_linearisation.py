"""`linearize`: a model linearised for a caller, after the checks of model, batch and memory."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hfbench.curvature.double_backward import twice_differentiable
from hfbench.curvature.linearisation import Linearisation, check_chunk
from hfbench.curvature.loss import check_loss
from hfbench.curvature.model_checks import check_batch, check_layers, check_model, trainable
from hfbench.curvature.weights_by_name import check_reached_by_name, few_of
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

    It answers at these weights, of which it keeps a copy, whatever happens to the model's own later.

    Raises ConfigError for an unknown loss, targets that the loss is not defined for, a precision that this machine does
    not support, a limit too small for one case, and a model whose curvature would be wrong, such as one with dropout in
    training mode or with parameters that forward reaches other than by name. Products raise it if the batch was changed
    in place, or if forward writes into the weights. `value` raises NonFiniteError if the outputs are not finite.
    """
    check_model(model)
    check_layers(model, trainable(model))
    loss, chunk = check_loss(loss), check_chunk(chunk)
    settings: dict[str, Any] = {"layout": layout, "precision": precision}
    if (limit := bytes_of(max_bytes)) is not None:
        check_batch(inputs, targets)
        held = resident_bytes(model, (inputs, targets))
        chunk = plan_of(partial(_use, model, loss, settings), inputs, targets, held, chunk, limit).chunk
    at = Linearisation(model, loss, inputs, targets, chunk=chunk, **settings)
    _ = at.loss_at  # checks the targets
    with twice_differentiable(model):
        at.rewritten = _try_weights(model, at.inputs) or at.rewritten
    return at


def _try_weights(model: nn.Module, inputs: Tensor) -> list[str]:
    """As `check_reached_by_name`, on a few cases if the model can take so few."""
    try:
        return check_reached_by_name(model, few_of(inputs))
    except (ConfigError, torch.OutOfMemoryError):
        raise
    except Exception:  # it takes batches of one size only
        return check_reached_by_name(model, inputs)


def _use(
    model: nn.Module, loss: str, settings: dict[str, Any], inputs: Tensor, targets: Tensor, chunk: int | None
) -> None:
    """Uses everything of a linearisation once."""
    at = Linearisation(model, loss, inputs, targets, chunk=chunk, **settings)
    at.gauss_newton(at.gradient)
    at.vjp(at.jvp(at.gradient))
    at.squared_sums(at.residual)
    at.squared_norms(at.residual)
