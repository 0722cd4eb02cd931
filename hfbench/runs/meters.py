"""Meters of a run: seconds of training and the peak of memory."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

GRACE = 60.0  # seconds


class SharedClock:
    """The stopwatch of a run as another process sees it."""

    def __init__(self, context: Any) -> None:
        self._spent_and_started = context.RawArray("d", 2)

    def show(self, spent: float, started: float = 0.0) -> None:
        """Seconds spent, and the time on the system's clock since when it runs; 0 if it stands."""
        cell = self._spent_and_started
        cell[1], cell[0] = 0.0, spent  # whoever reads in between sees too little
        cell[1] = started

    @property
    def seconds(self) -> float:
        """Seconds on the stopwatch now."""
        spent, started = self._spent_and_started
        return float(spent + (time.perf_counter() - started if started else 0.0))


_shared: SharedClock | None = None


def share_clock(clock: SharedClock) -> None:
    """Shows this process's stopwatch to the one that watches over it."""
    global _shared
    _shared = clock


class Stopwatch(AbstractContextManager["Stopwatch"]):
    """Seconds spent inside `with stopwatch:`; time outside (evaluation, checkpoints, records) does not count.

    It waits for the GPU, if one is in use, before it starts and before it stops.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self._started = 0.0

    def __enter__(self) -> Stopwatch:
        _synchronise()
        self._started = time.perf_counter()
        if _shared is not None:
            _shared.show(self.seconds, self._started)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _synchronise()
        self.seconds += time.perf_counter() - self._started
        if _shared is not None:
            _shared.show(self.seconds)


class Awaited(AbstractContextManager["Awaited"]):
    """Work that does not count, but has to return: it is given `GRACE` seconds more than a step of the run."""

    def __enter__(self) -> Awaited:
        if _shared is not None:
            _shared.show(-GRACE, time.perf_counter())
        return self

    def __exit__(self, *of: object) -> None:
        if _shared is not None:
            _shared.show(0.0)


def _uses_gpu() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _synchronise() -> None:
    if _uses_gpu():
        torch.cuda.synchronize()


_before = 0  # the highest peak since the run began, of those that were forgotten to see others


def reset_peak_memory() -> None:
    """Resets the peak, so that a process that makes several runs reports each one's own. Linux and GPUs only.

    Garbage of earlier runs is collected, and freed memory returned to the system, since it would count for later runs.
    """
    global _before
    return_freed_memory()
    _forget_peak()
    _before = 0


def return_freed_memory() -> None:
    """Returns freed memory to the system, which otherwise counts as this process's if it was part of a larger block."""
    gc.collect()
    if _uses_gpu():
        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)


def peak_memory() -> int:
    """Peak memory in bytes: of the GPU if one is in use, else the resident set of this process.

    If the system cannot reset its peak (all but Linux), it is the peak since the process began.
    """
    return max(_before, _peak())


class PeakMemory(AbstractContextManager["PeakMemory"]):
    """`bytes` is the peak inside `with memory:` above the memory in use at construction; None if it is not measurable.

    On a GPU it counts bytes of tensors, otherwise the growth of the process, on Linux. `peak_memory` keeps all peaks.
    """

    def __init__(self) -> None:
        self.base = int(torch.cuda.memory_allocated()) if _uses_gpu() else _status("VmRSS")
        self.bytes: int | None = None
        self._known = False

    def __enter__(self) -> PeakMemory:
        global _before
        _before = peak_memory()
        self._known = _forget_peak()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bytes = max(_peak() - self.base, 0) if self._known and self.base is not None else None


def _peak() -> int:
    if _uses_gpu():
        return int(torch.cuda.max_memory_allocated())
    if (known := _status("VmHWM")) is not None:
        return known
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, the others kibibytes


def _forget_peak() -> bool:
    """Resets the system's peak; True if that succeeded."""
    if _uses_gpu():
        torch.cuda.reset_peak_memory_stats()
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status(name: str) -> int | None:
    """A number of bytes from Linux's status of this process."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None
