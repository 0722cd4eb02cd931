"""Scalars that a solver computes from vectors: read at once on a CPU, one step late on a GPU.

On a CPU a number is a float. On a GPU it is a float64 tensor without dimensions that stays on the device: operations on
it wait in the device's queue, and the host does not wait. A solver's steps are therefore written as an endless process
without a branch on a number, and `read` gives their numbers as floats. On a GPU it does so one step late: while the
host decides on step k, the device computes step k + 1, and neither waits. The step that is running when the solve ends
is discarded, and counted.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

Number = float | Tensor
AnyNumber = TypeVar("AnyNumber", float, Tensor, float | Tensor)
LEAST_EXPONENT = -126  # of a power of two that float32 holds, and whose inverse it holds
AHEAD = 1  # steps that the device is ahead of the host; more would only be made in vain


def is_on_gpu(device: torch.device) -> bool:
    """True if numbers stay on the device, where reading one would make the host wait for the device."""
    return device.type == "cuda"


def sqrt(square: AnyNumber) -> AnyNumber:
    """√ of a non-negative number; 0 if rounding has made it negative, NaN for NaN."""
    return square.clamp(min=0).sqrt() if isinstance(square, Tensor) else math.sqrt(max(square, 0.0))


def divide(a: Number, b: Number) -> Number:
    """a/b by IEEE 754: infinite or NaN if b is 0."""
    if isinstance(a, Tensor) or isinstance(b, Tensor) or b != 0:
        return a / b
    return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)


def inverse_of(norm: Number) -> Number:
    """1/norm, the factor that normalises a vector; 1 if the norm is not positive, so that the vector is unchanged."""
    if isinstance(norm, Tensor):
        return torch.where(norm > 0, 1 / norm, torch.ones_like(norm))
    return 1 / norm if norm > 0 else 1.0


def scale_of(norm: float) -> float:
    """The power of two next above a norm below 1, which divides a vector without changing a digit; else 1.

    A system is solved for b divided by it: squares of its residuals would vanish in float32 where ‖b‖ is near 1e-19. A
    large b is left alone, since x is then often of moderate size, and its small entries would vanish.
    """
    exponent = math.frexp(norm)[1]
    return 2.0 ** max(LEAST_EXPONENT, min(exponent, 0))


def read(steps: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """The steps of a process with their numbers as floats; on a GPU a step's are read while the next one runs."""
    under_way: deque[Transfer] = deque()
    for step in steps:
        if not any(isinstance(entry, Tensor) for entry in step):
            yield step
            continue
        under_way.append(Transfer(step))
        if len(under_way) > AHEAD:
            yield under_way.popleft().wait()
    while under_way:
        yield under_way.popleft().wait()


class Transfer:
    """Asynchronous transfer of a step's numbers to the host, which waits only for the operations they depend on."""

    def __init__(self, step: tuple[Any, ...]) -> None:
        self.step = step
        self.places = [index for index, entry in enumerate(step) if isinstance(entry, Tensor)]
        self.numbers = torch.stack([step[place] for place in self.places]).to("cpu", non_blocking=True)
        self.event: Any = None
        if is_on_gpu(step[self.places[0]].device) and torch.cuda.is_available():
            self.event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self.event.record()

    def wait(self) -> tuple[Any, ...]:
        """Waits for the transfer; returns the step with floats."""
        if self.event is not None:
            self.event.synchronize()
        step = list(self.step)
        for place, number in zip(self.places, self.numbers.tolist(), strict=True):
            step[place] = number
        return tuple(step)
