"""Limit on the tensors that are made while a model is built: one that does not fit is refused before it is allocated.

Without it a layer of 10^9 units ends in an error of the allocator, or in the end of the process once its memory is
written to.
"""

from __future__ import annotations

import math
from typing import Any

import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hfbench.memory.byte_sizes import in_words


class TooLargeError(MemoryError):
    """A tensor for which there is not enough memory, with what it needs and what there is."""


class WithinMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """`with WithinMemory():` raises TooLargeError for a new tensor larger than the memory that is available."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        shape = args[0] if args else None
        # What makes a tensor of nothing, such as empty, zeros and randn, takes its shape first.
        if isinstance(shape, list | tuple) and shape and all(isinstance(size, int) for size in shape):
            self._check(shape, kwargs.get("dtype") or torch.get_default_dtype())
        return func(*args, **kwargs)

    def _check(self, shape: Any, dtype: torch.dtype) -> None:
        needed, there = math.prod(shape) * dtype.itemsize, psutil.virtual_memory().available
        if needed > there:
            sizes = " x ".join(map(str, shape))
            raise TooLargeError(f"a tensor of {sizes} needs {in_words(needed)}, and {in_words(there)} are available")
