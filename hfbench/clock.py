"""What a run costs besides work: seconds of training and the peak of memory."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType

import torch


class Stopwatch(AbstractContextManager["Stopwatch"]):
    """Seconds spent inside `with stopwatch:`; everything outside (evaluation, checkpoints, records) is free.

    Waits for the GPU, where one is in use, before it starts and before it stops.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self._started = 0.0

    def __enter__(self) -> Stopwatch:
        _synchronise()
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _synchronise()
        self.seconds += time.perf_counter() - self._started


def _uses_gpu() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _synchronise() -> None:
    if _uses_gpu():
        torch.cuda.synchronize()


def reset_peak_memory() -> None:
    """Forgets earlier peaks, so that a process that runs several runs reports each one's own. Linux and GPUs only.

    What earlier runs left behind would count for later ones: it is collected, and freed memory given back.
    """
    gc.collect()
    if _uses_gpu():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Peak memory in bytes: of the GPU where one is in use, otherwise the resident set of this process.

    Where the system cannot forget a peak (anything but Linux) it is the peak since the process began.
    """
    if _uses_gpu():
        return int(torch.cuda.max_memory_allocated())
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, the others kibibytes
