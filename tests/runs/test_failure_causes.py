"""Whose failure it is: the method's, which counts, or the machine's, which does not."""

import errno

import pytest
import torch

from hfbench.errors import DataError, NonFiniteError, StoreError
from hfbench.runs.failure_causes import MACHINE, METHOD, cause_of


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RuntimeError("planted"), METHOD),
        (ZeroDivisionError(), METHOD),
        (NonFiniteError("the model's outputs"), METHOD),
        (FileNotFoundError(errno.ENOENT, "a file of the plugin's own"), METHOD),
        (MemoryError(), MACHINE),
        (torch.OutOfMemoryError("CUDA out of memory"), MACHINE),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), MACHINE),
        (OSError(errno.ENOSPC, "No space left on device"), MACHINE),
        (OSError(errno.ETIMEDOUT, "Connection timed out"), MACHINE),
        (RuntimeError("CUDA out of memory. Tried to allocate"), MACHINE),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), MACHINE),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), METHOD),
        (DataError("no file"), MACHINE),
        (StoreError("no trace"), MACHINE),
    ],
)
def test_the_cause_of_a_failure(error: BaseException, cause: str) -> None:
    assert cause_of(error) == cause


def test_memory_that_lacks_twice_is_what_the_method_needs() -> None:
    assert cause_of(MemoryError(), before="ValueError: planted") == MACHINE
    assert cause_of(MemoryError(), before="MemoryError") == METHOD
    assert cause_of(OSError(errno.ENOSPC, "No space left on device"), before="MemoryError") == MACHINE
