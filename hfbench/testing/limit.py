"""Time limit of a check, for parts that never return."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class TimeUp(BaseException):
    """The block took too long. It is not an Exception, which parts may catch."""


@contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """Raises TimeUp in the block after so many seconds, and again after as many if it was swallowed.

    The limit works in the main thread on POSIX, where a timer can interrupt Python; elsewhere there is none. The
    signal's handler and a running timer are restored afterwards.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    began = time.monotonic()
    handler = signal.signal(signal.SIGALRM, _time_up)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if handler is None else handler)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 1e-3), interval)


def _time_up(number: int, frame: FrameType | None) -> NoReturn:
    raise TimeUp
