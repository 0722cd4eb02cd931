"""Cause of a failed run: its method, or the machine that it was made on.

A run that its own method ends (exception, divergence) counts as not having reached the target. A run that the machine
ends (killed, memory, disk, data) is left out of all comparisons until it is made again.
"""

from __future__ import annotations

import errno

import torch

from hfbench.errors import DataError, StoreError
from hfbench.parts import plugin_errors

METHOD, MACHINE = "method", "machine"

# A full or failing disk, no memory, no more open files, no right to write: as `write` and its like report it.
OF_MACHINE = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EACCES)
) | {errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET, errno.EBUSY}
# What torch says by a plain RuntimeError.
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
BROKEN_DEVICE = ("ECC error", "CUDA driver")


def cause_of(error: BaseException, before: str = "") -> str:
    """MACHINE if memory, disk, data or records are not sufficient for a run; METHOD for any other exception.

    If a run lacks memory for the second time (`before` is the error of its last attempt), the cause is its method:
    otherwise the run would always be left out just where the method does worst.
    """
    said = plugin_errors.message(error)
    if _lacks_memory(error, said):
        return METHOD if _lacks_memory(None, before) else MACHINE
    if isinstance(error, DataError | StoreError) or any(words in said for words in BROKEN_DEVICE):
        return MACHINE
    return MACHINE if isinstance(error, OSError) and error.errno in OF_MACHINE else METHOD


def _lacks_memory(error: BaseException | None, said: str) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in said for words in (*NO_MEMORY, "MemoryError", "OutOfMemoryError")
    )
