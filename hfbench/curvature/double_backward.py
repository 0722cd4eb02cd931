"""Switch of a model's forward pass to twice differentiable kernels.

The product J v differentiates a recorded backward pass, or else takes forward mode. Some fast kernels allow neither:
fused attention, the fast path of `nn.MultiheadAttention` and `nn.TransformerEncoderLayer`, cuDNN's recurrent layers
and compiled graphs. Each has a plain twin that computes the same function up to rounding. The twin is used for
every pass of a step, so that all of its objectives come from one computation.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

_entered = False  # the switches are the process's own, and so is this


@contextmanager
def twice_differentiable(model: nn.Module) -> Iterator[None]:
    """Inside, the model runs with kernels that have second derivatives; nesting costs nothing."""
    global _entered
    if _entered:
        yield
        return
    with ExitStack() as stack:
        _entered = True
        stack.callback(_leave)
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(_no_fast_attention())
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            stack.enter_context(_no_cudnn())
        if "torch._dynamo" in sys.modules:  # else nothing is compiled, and importing it takes seconds
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def _leave() -> None:
    global _entered
    _entered = False


@contextmanager
def _no_fast_attention() -> Iterator[None]:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def _no_cudnn() -> Iterator[None]:
    """Switches cuDNN off; `torch.backends.cudnn.flags` would also reset other flags to their defaults."""
    before = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = before


@contextmanager
def quiet() -> Iterator[None]:
    """Silences PyTorch's warnings about its rules for forward mode and batching, which a caller cannot remedy."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        yield
