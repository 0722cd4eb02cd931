"""Cause of a failed run: its own method, or the machine that it was made on.

What a method ends by itself says something of it: the run counts as one that never reaches the target. What the machine
ends says nothing: the run is left out of all comparisons until it is made again.
"""

from __future__ import annotations

import errno

import torch

from hfbench.errors import DataError, StoreError

METHOD, MACHINE = "method", "machine"

# A full or failing disk, no memory, no more open files, no right to write: as `write` and its like report it.
OF_MACHINE = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EACCES)
)
NO_MEMORY = "can't allocate memory"  # torch on a CPU says so by a plain RuntimeError


def cause_of(error: BaseException) -> str:
    """MACHINE where memory, disk, data or records are not what a run needs; METHOD for any other exception."""
    if isinstance(error, DataError | StoreError | MemoryError | torch.OutOfMemoryError) or NO_MEMORY in str(error):
        return MACHINE
    return MACHINE if isinstance(error, OSError) and error.errno in OF_MACHINE else METHOD
