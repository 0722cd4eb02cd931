"""Meters: the stopwatch, and the peak of memory."""

from __future__ import annotations

import mmap
import os
import sys
import time

import pytest
import torch

from hfbench.runs.meters import PeakMemory, Stopwatch, peak_memory, reset_peak_memory, return_freed_memory

CORES = os.cpu_count() or 1
# Linux counts the pages of a process for each processor apart, and adds a batch of them up when it is full.
LATE = max(32, 2 * CORES) * CORES * mmap.PAGESIZE  # bytes that are not counted yet


def test_the_stopwatch_counts_only_what_is_inside() -> None:
    clock = Stopwatch(2.0)
    with clock:
        time.sleep(0.02)
    time.sleep(1.0)
    assert 2.02 <= clock.seconds < 3.0


def test_the_peak_of_memory_is_forgotten_between_runs() -> None:
    reset_peak_memory()
    before = peak_memory()
    block = bytearray(80_000_000)
    assert peak_memory() >= before + 70_000_000
    del block
    reset_peak_memory()
    assert peak_memory() < before + 70_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets peaks")
def test_the_peak_of_a_step_is_its_own() -> None:
    reset_peak_memory()
    memory = PeakMemory()
    with memory:
        large = torch.ones(20_000_000)
    del large
    return_freed_memory()  # the allocator may have found a free block of that size, which it then keeps
    first, peak = memory.bytes, peak_memory()
    assert first is not None
    assert 80_000_000 - LATE <= first < 100_000_000
    found = []
    for _ in range(3):  # what other threads of the process make can only add to it
        with memory:
            small = torch.ones(5_000_000)
        found.append(memory.bytes or 0)
        del small
    assert 20_000_000 - LATE <= min(found) < 40_000_000
    assert peak_memory() == max(peak, (memory.base or 0) + max(found)), "that of the run is not forgotten"
    reset_peak_memory()
    assert peak_memory() < peak - 60_000_000


def test_where_peaks_cannot_be_told_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hfbench.runs.meters._forget_peak", lambda: False)
    memory = PeakMemory()
    with memory:
        pass
    assert memory.bytes is None
