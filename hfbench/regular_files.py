"""Bytes of files that others may have made: regular files only, of a bounded size, and none through a link out.

A pipe or a device would be waited for or read without end, a sparse file of a few bytes can take all memory, and a link
may lead to a private file whose contents would end up in records.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MB = 1 << 20


def read_regular_file(path: Path, at_most: int, inside: Path | None = None) -> bytes:
    """The bytes of a regular file of at most `at_most` bytes.

    With `inside`, the file must lie in that folder after every link is followed. The folder itself may be a link.
    Raises OSError, whose `strerror` says what the path is in place of such a file.
    """
    if inside is not None and not is_inside(path, inside):
        raise OSError(errno.EINVAL, f"it is a link out of {inside}", str(path))
    # Without O_NONBLOCK the call itself waits until somebody writes into a pipe.
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
        found = os.fstat(file.fileno())
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is a pipe, a socket or a device, not a regular file", str(path))
        # A byte beyond its size shows that there is more: the file grows, or states no size, as those of /proc. All
        # that may be is not asked for at once: a buffer of that size costs three times as much as to read a small file.
        held = b"" if found.st_size > at_most else file.read(found.st_size + 1)
        if len(held) > found.st_size:
            held += file.read(at_most + 1 - len(held))
    if max(found.st_size, len(held)) > at_most:
        size = max(found.st_size, len(held)) / MB
        raise OSError(errno.EFBIG, f"it has {size:.1f} MiB, more than the {at_most / MB:g} MiB allowed", str(path))
    return held


def is_inside(path: Path, folder: Path) -> bool:
    """True if the path, with every link followed, lies in the folder or would lie there."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
