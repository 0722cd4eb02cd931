"""Freed memory kept by the process for its next tensors, in place of a return to the system after every product.

glibc returns large blocks to the system as soon as they are freed, and each new one costs a page fault for every 4 KiB
that is written: with tensors of some megabytes that is a third of a product, or half.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

KEPT = 2**30  # bytes at most that stay with the process while free
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)


@cache
def keep_freed_memory() -> bool:
    """Has the process keep up to 1 GiB of freed memory; False where the C library is another one than glibc."""
    try:
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        mallopt = getattr(library, "mallopt", None)
    except OSError:  # an interpreter that is linked statically
        return False
    if mallopt is None:
        return False
    taken = [mallopt(parameter, KEPT) == 1 for parameter in (TRIM_THRESHOLD, MMAP_THRESHOLD)]
    return all(taken)
