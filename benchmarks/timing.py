"""Timing of several sides that do the same in turns, so that a machine that slows down slows all of them.

A ratio is the median of the ratios within rounds, not the ratio of medians, since other processes disturb both sides of
a round alike.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch

Clock = Callable[[], float]


def clock(threads: int) -> Clock:
    """Processor time of a single thread, which other processes do not disturb; wall time for several threads."""
    return time.thread_time if threads == 1 else time.perf_counter


def seconds(call: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Seconds of one call, including the wait for the GPU."""
    _synchronise()
    start = clock()
    call()
    _synchronise()
    return clock() - start


@dataclass(frozen=True)
class Quantiles:
    """Median and quartiles of repeated measurements."""

    low: float
    median: float
    high: float


def quantiles(values: Iterable[float]) -> Quantiles:
    """The quartiles of at least one value."""
    ordered = sorted(values)
    if len(ordered) == 1:
        return Quantiles(*(ordered * 3))
    return Quantiles(*statistics.quantiles(ordered, n=4, method="inclusive"))


class Rounds:
    """Seconds by side, one for each round."""

    def __init__(self, times: Mapping[str, list[float]]) -> None:
        self.times = times

    def median(self, side: str) -> float:
        """Median seconds of a side."""
        return statistics.median(self.times[side])

    def ratio(self, side: str, base: str) -> Quantiles:
        """Seconds of a side over those of another in the same round."""
        return quantiles(a / b for a, b in zip(self.times[side], self.times[base], strict=True))


def take_turns(
    sides: Mapping[str, Callable[[], object]],
    *,
    least: int = 5,
    budget: float = 2.0,
    warm_up: int = 2,
    clock: Clock = time.perf_counter,
) -> Rounds:
    """Runs at least `least` rounds, and more while within `budget` seconds; the order rotates by one each round."""
    for _ in range(warm_up):
        for call in sides.values():
            call()
    times: dict[str, list[float]] = {side: [] for side in sides}
    names, end, done = list(sides), time.perf_counter() + budget, 0
    while done < least or time.perf_counter() < end:
        for i in range(len(names)):
            side = names[(done + i) % len(names)]
            times[side].append(seconds(sides[side], clock))
        done += 1
    return Rounds(times)


def exponent(sizes: Iterable[float], costs: Iterable[float]) -> float:
    """beta of costs ∝ sizes^beta, by least squares on the logarithms."""
    x, y = [math.log(size) for size in sizes], [math.log(cost) for cost in costs]
    return statistics.linear_regression(x, y).slope


def _synchronise() -> None:
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
