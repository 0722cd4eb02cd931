"""Passes of a baseline in bfloat16: autocast, but for dense layers of few weights, as in hfbench's own products.

All that an autoencoder learns goes through such a layer. In bfloat16 its errors keep a baseline above targets that it
reaches otherwise (`hfbench.linalg.precision.dtype_of_layer`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from hfbench.errors import ConfigError
from hfbench.linalg.precision import dtype_of_layer


def passes_in(precision: str, model: nn.Module, weight: Tensor) -> Callable[[], AbstractContextManager[object]]:
    """The context of the model's passes in this precision. Raises ConfigError where it is not supported."""
    if precision == "parameters":
        return nullcontext
    kind = weight.device.type
    if weight.dtype != torch.float32:
        raise ConfigError(
            f"precision: 'bfloat16' must have float32 weights, but they are {weight.dtype}: take study.precision = "
            '"float32", or "parameters" here.'
        )
    if not torch.amp.is_autocast_available(kind):
        raise ConfigError(
            f"precision: 'bfloat16' must be supported by the device, but PyTorch has no autocast on {kind}."
        )
    narrow = [layer for layer in model.modules() if type(layer) is nn.Linear and _is_narrow(layer)]
    return partial(_autocast, kind, narrow)


@contextmanager
def _autocast(kind: str, narrow: list[nn.Linear]) -> Iterator[None]:
    """Inside, operations are in bfloat16 where autocast takes them, and these layers in the dtype of their weights."""
    for layer in narrow:
        vars(layer)["forward"] = partial(_exact, layer, kind)
    try:
        with torch.autocast(kind, torch.bfloat16):
            yield
    finally:
        for layer in narrow:
            del vars(layer)["forward"]


def _exact(layer: nn.Linear, kind: str, x: Tensor) -> Tensor:
    with torch.autocast(kind, enabled=False):
        return functional.linear(x.to(layer.weight.dtype), layer.weight, layer.bias)


def _is_narrow(layer: nn.Linear) -> bool:
    own = layer.weight.dtype
    return "forward" not in vars(layer) and dtype_of_layer(layer.weight.numel(), own, torch.bfloat16) == own
