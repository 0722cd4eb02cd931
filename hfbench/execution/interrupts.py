"""Ctrl-C and SIGTERM: both end a study alike, and neither while a run is handed out."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn

# Exit statuses, as shells have them.
INTERRUPTED = 130
TERMINATED = 143


class Terminated(KeyboardInterrupt):
    """SIGTERM has come."""


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Within the block SIGTERM raises Terminated in the main thread, the only one that can ask for that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait for the end of the block; processes begun in it never see them.

    A terminal sends Ctrl-C, and a batch system SIGTERM, to all processes of a study at once: whoever began the others
    ends them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    with ExitStack() as at_the_end:  # each of these is done even where a signal interrupts another
        at_the_end.callback(_raise_all, came)
        for signum in signals:
            before = signal.signal(signum, lambda number, frame: came.append(number))
            at_the_end.callback(signal.signal, signum, before or signal.SIG_DFL)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # new processes inherit it
        at_the_end.callback(signal.pthread_sigmask, signal.SIG_SETMASK, mask)
        yield


def _raise_all(numbers: list[int]) -> None:
    for number in numbers:
        signal.raise_signal(number)


def _raise(number: int, frame: Any) -> NoReturn:
    raise Terminated
