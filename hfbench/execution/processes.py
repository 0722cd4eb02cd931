"""Processes of this machine, a fresh one for each call.

Each is forked from a server that has loaded the libraries and nothing else (Python's `multiprocessing.forkserver`). So
a call begins as clean as the first one, whatever others did to their process, and one that dies takes no other with it.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, ClassVar

from hfbench.execution.fork_server import THREADS, start_server
from hfbench.execution.printable_streams import make_streams_printable
from hfbench.interrupts import leave_signals_to_parent
from hfbench.runs.meters import SharedClock, share_clock

LOOK_EVERY = 0.1  # seconds between two looks at a call's clock
BEYOND = 2.0, 10.0  # a call is ended after so many times its limit, and so many seconds, on its clock


class ProcessDied(Exception):
    """The process of a call ended before the call: by a signal (`status` is its negative number) or by itself."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status

    def __str__(self) -> str:
        return f"it was ended by {_signal(-self.status)}" if self.status < 0 else f"it exited with status {self.status}"


class Overdue(Exception):
    """A call was ended since its clock ran far beyond its limit, both in seconds."""

    def __init__(self, seconds: float, limit: float) -> None:
        super().__init__(seconds, limit)
        self.seconds, self.limit = seconds, limit

    def __str__(self) -> str:
        return f"it was ended at {self.seconds:.3g} seconds on the clock, which has a limit of {self.limit:g}"


class Processes:
    """Makes so many calls at a time."""

    away: ClassVar[bool] = False

    def __init__(self, jobs: int) -> None:
        self.capacity = jobs
        self._lock = threading.Lock()
        self._running: set[Any] = set()
        self._stopping = False
        self._threads: ThreadPoolExecutor | None = None
        self._context = multiprocessing.get_context("forkserver")

    def prepare(self) -> None:
        start_server()

    def submit(self, function: Callable[..., Any], *of: Any, limit: float = math.inf) -> Future[Any]:
        """function(*of), with a clock that must not run far beyond the limit in seconds."""
        if self._threads is None:
            self.prepare()
            self._stopping, self._threads = False, ThreadPoolExecutor(self.capacity, "hfbench-process")
        return self._threads.submit(self._made, limit, function, *of)

    def has_died(self, error: BaseException) -> bool:
        return isinstance(error, ProcessDied)

    def stop(self) -> None:
        """Ends the calls under way, and those that wait."""
        threads, self._threads = self._threads, None
        if threads is None:
            return
        with self._lock:
            self._stopping = True
            for process in self._running:
                process.kill()
        threads.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        self.stop()

    def _made(self, limit: float, function: Callable[..., Any], *of: Any) -> Any:
        """The call's answer. Raises what it raises, ProcessDied or Overdue."""
        clock = SharedClock(self._context)
        reader, writer = self._context.Pipe(duplex=False)
        call = pickle.dumps((function, of))  # else tensors would be shared, with a process that ends
        process = self._context.Process(target=_answer, args=(writer, clock, _surroundings(), call))
        with self._lock:
            if self._stopping:
                raise ProcessDied(-signal.SIGKILL)
            process.start()
            self._running.add(process)
        writer.close()
        try:
            while not wait([reader, process.sentinel], LOOK_EVERY):
                if clock.seconds > BEYOND[0] * limit + BEYOND[1]:
                    raise Overdue(clock.seconds, limit)
            with suppress(EOFError):
                if reader.poll():
                    return _unpacked(*pickle.loads(reader.recv_bytes()))
            process.join()
            raise ProcessDied(process.exitcode or 0)
        finally:
            process.kill()
            process.join()
            with self._lock:
                self._running.discard(process)
            process.close()
            reader.close()


def _answer(
    reply: Connection,
    clock: SharedClock,
    surroundings: tuple[str, Mapping[str, str]],
    call: bytes,
) -> None:
    """In the process of a call: sends what it returns or raises, and ends without any clearing up."""
    _end_with_parent()
    leave_signals_to_parent()
    make_streams_printable()
    _enter(*surroundings)
    share_clock(clock)
    try:
        function, of = pickle.loads(call)
        answer: tuple[str, Any] = "returned", function(*of)
    except BaseException as error:
        answer = "raised", error
    try:
        packed = pickle.dumps(answer)
    except Exception as error:
        unsent = RuntimeError(f"{type(answer[1]).__name__} cannot be sent: {type(error).__name__}")
        packed = pickle.dumps(("raised", unsent))
    reply.send_bytes(packed)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(0)


def _surroundings() -> tuple[str, Mapping[str, str]]:
    """The working folder, and the environment but for the numbers of threads."""
    return os.getcwd(), {name: value for name, value in os.environ.items() if name not in THREADS}


def _enter(folder: str, environment: Mapping[str, str]) -> None:
    """Takes over the surroundings of whoever asks, which may have changed since the server began."""
    os.chdir(folder)
    os.environ.update(environment)
    for name in os.environ.keys() - environment.keys() - set(THREADS):
        del os.environ[name]


def _unpacked(kind: str, value: Any) -> Any:
    if kind == "raised":
        raise value
    return value


def _end_with_parent() -> None:
    """If its parent were killed, a call would go on unseen, beside the same call made anew."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _signal(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
