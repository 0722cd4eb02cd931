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
LARGEST = 2**30, 2**25  # bytes of a block that is kept; older versions of glibc take no more than the second
OF_THE_USER = ("MALLOC_", "GLIBC_TUNABLES")  # variables of the environment that set the same


@cache
def keep_freed_memory() -> bool:
    """Has the process keep freed blocks of up to 1 GiB, and up to 1 GiB at the end of its heap.

    False, and nothing is changed, where the C library is another one than glibc or the environment sets its allocator.
    """
    if any(name.startswith(OF_THE_USER) for name in os.environ):
        return False
    try:
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        mallopt = getattr(library, "mallopt", None)
    except OSError:  # an interpreter that is linked statically
        return False
    if mallopt is None or not any(mallopt(MMAP_THRESHOLD, size) == 1 for size in LARGEST):
        return False
    return bool(mallopt(TRIM_THRESHOLD, LARGEST[0]) == 1)
