"""A process that begins for another one, and ends with it also while it loads its libraries."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PARENT = "HFBENCH_PARENT"  # variable with the process that begins this one, which may have ended before the block
LOOK_EVERY = 0.1  # seconds


@contextmanager
def ended_with_parent() -> Iterator[None]:
    """This process ends with its parent in the block, after which no thread is left: it may be forked."""
    parent, is_over = int(os.environ.get(PARENT, os.getppid())), threading.Event()

    def watch() -> None:
        while os.getppid() == parent:
            if is_over.wait(LOOK_EVERY):
                return
        os._exit(1)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
