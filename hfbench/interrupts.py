"""Ctrl-C and SIGTERM: recorded when they come, and acted on where nothing is left half done.

Python raises KeyboardInterrupt wherever the main thread happens to be. Libraries take it for something else (a module
that is missing, an attribute that cannot be set), drop it (in a callback or a destructor), or are left with a lock
that nobody frees. So a command keeps its signals. They raise at once in `interruptible` blocks alone, whose state is
thrown away; anywhere else at the next call of `raise_if_interrupted`, between two pieces of work.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

# Exit statuses, as shells have them.
INTERRUPTED = 130
TERMINATED = 143

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GOES_ON = "Interrupted. The same command goes on where it stopped."
STOPPED = "Interrupted."
STOPPING = "Stopping… Another Ctrl-C ends it at once."
PATIENCE = 1.0  # seconds after which a command that has not ended says that it is stopping
ECHO = 1.0  # seconds in which another signal is the first one again: what starts a command may pass Ctrl-C on to it


class Terminated(KeyboardInterrupt):
    """SIGTERM has come."""


class _Signals:
    """The signals of this process, and what is to become of them."""

    def __init__(self) -> None:
        self.kept = False
        self.before: dict[int, Any] = {}  # the handlers that ours replace
        self.unraisable: Callable[[Any], object] = sys.unraisablehook  # likewise
        self.came = 0  # the first one that came; 0 for none
        self.when = 0.0
        self.raised = False  # the first one has been raised in the main thread
        self.at_once = False  # it may be, wherever the main thread is
        self.sentence = ""  # of a process that ends at the second one; empty if the process is the caller's
        self.said = False
        self.over = False  # all work is done


_signals = _Signals()
_left_to_parent = False


# ---------------------------------------------------------------- keeping


def keep_signals(sentence: str) -> None:
    """Keeps the signals until the process ends; from the second on it ends at once, with the sentence.

    That loses nothing: records are whole at any moment, and workers end when their parent has ended.
    """
    _install()
    _signals.sentence = sentence
    atexit.register(_ignore)  # before any other, so that it is called last: Python then takes its handlers away


def leave_to_its_end() -> None:
    """Lets the process end by itself when all work is done: a signal that comes now is too late for anything."""
    _signals.over, _signals.when = True, time.monotonic()


@contextmanager
def signals_kept() -> Iterator[None]:
    """Keeps the signals until the end of the block, unless they are kept already or this is not the main thread.

    A signal that was raised nowhere in the block is sent again after it.
    """
    if _signals.kept or not _is_main_thread():
        yield
        return
    _install()
    try:
        yield
    finally:
        left = 0 if _signals.raised else _signals.came
        _restore()
        if left:
            signal.raise_signal(left)


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Signals wait for the end of the block, and processes begun in it never see them.

    A terminal sends Ctrl-C, and a batch system SIGTERM, to all processes of a study at once: whoever began the others
    ends them.
    """
    if not _is_main_thread():
        yield
        return
    with signals_kept(), _raising_at_once(False):
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # new processes inherit it
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if _signals.at_once:
        raise_if_interrupted()


def leave_signals_to_parent() -> None:
    """Of a process begun in `signals_deferred`, which never sees one."""
    global _left_to_parent
    _left_to_parent = True


# ---------------------------------------------------------------- acting


def raise_if_interrupted() -> None:
    """Raises KeyboardInterrupt if Ctrl-C was kept, Terminated if SIGTERM was."""
    if _signals.came and _is_main_thread():
        raise _interrupt()


def is_interrupt(error: BaseException) -> bool:
    """Whether a signal raised that, and not a part that raises KeyboardInterrupt itself."""
    return isinstance(error, KeyboardInterrupt) and not _left_to_parent


@contextmanager
def interruptible() -> Iterator[None]:
    """A kept signal raises at once in the block, at its end if something in the block dropped it.

    So does a signal that became another exception there.
    """
    if not (_signals.kept and _is_main_thread()):
        yield
        return
    with _raising_at_once(True):
        raise_if_interrupted()
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if _signals.came:
                raise _interrupt() from error
            raise
    raise_if_interrupted()


def say_interrupted(interrupt: BaseException, say: Callable[[str], object]) -> int:
    """Says in a sentence that the command was interrupted, once for a process, and gives the exit status."""
    if not _signals.said:
        _signals.said = _signals.kept
        say(_signals.sentence or GOES_ON)
    return TERMINATED if isinstance(interrupt, Terminated) else INTERRUPTED


# ---------------------------------------------------------------- handlers


def _handle(number: int, frame: Any) -> None:
    now = time.monotonic()
    first = not (_signals.came or _signals.over)
    _signals.came = _signals.came or number
    if first:
        _signals.when = now
        _say_stopping_later()
    elif now - _signals.when > ECHO:
        _end_at_once()
    if first and _signals.at_once:
        raise_if_interrupted()


def _say_stopping_later() -> None:
    """Says that the command is stopping, in a while, unless it has ended by then; nothing where it is the caller's."""
    if _signals.sentence:
        timer = threading.Timer(PATIENCE, _say_stopping)
        timer.daemon = True
        with suppress(RuntimeError):  # Python is ending, and takes no more threads
            timer.start()


def _say_stopping() -> None:
    if not (_signals.said or _signals.over):
        _write_to_stderr(STOPPING)


def _write_to_stderr(sentence: str) -> None:
    """Writes a line past Python's buffers, which whoever was interrupted may hold."""
    stream = sys.__stderr__
    with suppress(OSError, ValueError):
        line = f"{sentence}\n".encode(stream.encoding if stream else "utf-8", "replace")
        os.write(stream.fileno() if stream else 2, line)


def _end_at_once() -> NoReturn:
    """Ends the process, or raises where it is not ours to end."""
    if not _signals.sentence:
        raise _interrupt()
    if not (_signals.said or _signals.over):
        _write_to_stderr(_signals.sentence)
    os._exit(TERMINATED if _signals.came == signal.SIGTERM else INTERRUPTED)


def _interrupt() -> KeyboardInterrupt:
    _signals.raised = True
    return Terminated() if _signals.came == signal.SIGTERM else KeyboardInterrupt()


def _install() -> None:
    """Our handlers in place of those there are; a signal that is ignored (nohup) stays ignored."""
    if _signals.kept:
        return
    _signals.kept, _signals.unraisable = True, sys.unraisablehook
    sys.unraisablehook = _report_unraisable
    for number in SIGNALS:
        if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None):
            _signals.before[number] = handler
            signal.signal(number, _handle)


def _ignore() -> None:
    for number in _signals.before:
        signal.signal(number, signal.SIG_IGN)


def _restore() -> None:
    global _signals
    for number, handler in _signals.before.items():
        signal.signal(number, handler)
    sys.unraisablehook = _signals.unraisable
    _signals = _Signals()


def _report_unraisable(unraisable: Any) -> None:
    """Python reports an exception that a destructor dropped, as it does KeyboardInterrupt; that one is raised later."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        _signals.unraisable(unraisable)


@contextmanager
def _raising_at_once(value: bool) -> Iterator[None]:
    before, _signals.at_once = _signals.at_once, value
    try:
        yield
    finally:
        _signals.at_once = before


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
