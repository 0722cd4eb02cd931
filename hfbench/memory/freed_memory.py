"""Freed memory that the process keeps for its next tensors.

glibc returns large blocks to the system as soon as they are freed, and each new one costs a page fault for every 4 KiB
that is written. With tensors of some megabytes that is a third of a product, or half.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)
LARGEST = 2**30  # bytes of a block that is kept
LARGE = 2**25  # as many as older versions of glibc take at most
OF_THE_USER = ("MALLOC_", "GLIBC_TUNABLES")  # variables of the environment that set the same


@cache
def keep_freed_memory() -> bool:
    """Has the process keep freed blocks of up to 1 GiB, and up to 1 GiB at the end of its heap.

    False, and nothing is changed, where the C library is another one than glibc or the environment sets its allocator.
    """
    return any(map(_keep, (LARGEST, LARGE)))


def return_large_blocks() -> bool:
    """Has the process return blocks above 32 MiB from now on: kept ones lie between others and leave gaps.

    For a step on all of MNIST the gaps came to half of its tensors.
    """
    return keep_freed_memory() and _keep(LARGE)


def _keep(size: int) -> bool:
    """Whether blocks of up to this size are kept from now on."""
    if any(name.startswith(OF_THE_USER) for name in os.environ):
        return False
    try:
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        mallopt = getattr(library, "mallopt", None)
    except OSError:  # an interpreter that is linked statically
        return False
    return bool(mallopt is not None and mallopt(MMAP_THRESHOLD, size) == 1 and mallopt(TRIM_THRESHOLD, size) == 1)
