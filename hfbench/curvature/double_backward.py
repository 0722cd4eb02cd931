"""Switch of a model's forward pass to twice differentiable kernels.

The product J v differentiates a recorded backward pass, or else takes forward mode. Some fast kernels allow neither:
fused attention, the fast path of `nn.MultiheadAttention` and `nn.TransformerEncoderLayer`, cuDNN's recurrent layers
and compiled graphs. Each has a plain twin that computes the same function up to rounding. The twin is used for
every pass of a step, so that all of its objectives come from one computation.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel


class _Shared:
    """A switch of the whole process: the first that enters throws it, the last that leaves puts it back."""

    def __init__(self, switch: Callable[[], AbstractContextManager[None]]) -> None:
        self.switch, self.inside = switch, 0
        self.lock, self.thrown = threading.Lock(), ExitStack()

    @contextmanager
    def held(self) -> Iterator[None]:
        with self.lock:
            if self.inside == 0:
                self.thrown.enter_context(self.switch())
            self.inside += 1
        try:
            yield
        finally:
            with self.lock:
                self.inside -= 1
                if self.inside == 0:
                    self.thrown.close()


@contextmanager
def twice_differentiable(model: nn.Module) -> Iterator[None]:
    """Inside, the model runs with kernels that have second derivatives; other threads may be inside, too."""
    with ExitStack() as stack:
        stack.enter_context(_plain_kernels.held())
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            stack.enter_context(_plain_recurrence.held())
        yield


@contextmanager
def _switch_kernels() -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(_no_fast_attention())
        if "torch._dynamo" in sys.modules:  # else nothing is compiled, and importing it takes seconds
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


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


_plain_kernels, _plain_recurrence = _Shared(_switch_kernels), _Shared(_no_cudnn)


@contextmanager
def quiet() -> Iterator[None]:
    """Silences PyTorch's warnings about its rules for forward mode and batching, which a caller cannot remedy."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        yield
