"""Misplaced files: a pipe, a device, a sparse file or a link to a private file where a file of records should be."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
PRIVATE, PRIVATE_FILE = b"private contents", "private"
SPARSE = 50 << 30  # bytes


def link_out(path: Path) -> None:
    """A link to a private file, which lies above the folders `results`, `studies`, `runs` and such of the path."""
    above = next(folder for folder in path.parents if folder.name.startswith("test_") or folder.name == "fuzz")
    (above / PRIVATE_FILE).write_bytes(PRIVATE)
    path.symlink_to(above / PRIVATE_FILE)


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, SPARSE)


MISPLACED: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "sparse": sparse,
    "link out": link_out,
}


def soon(call: Callable[[], T], seconds: float = 20.0) -> T:
    """What the call gives or raises; a failure if it is still waiting, as for a pipe, after so many seconds."""
    came: list[T] = []
    raised: list[BaseException] = []

    def called() -> None:
        try:
            came.append(call())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=called, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"it still waits after {seconds:g} s"
    if raised:
        raise raised[0]
    return came[0]
