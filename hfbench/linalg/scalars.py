"""Scalars that a solver computes from vectors: read at once on a CPU, one step late on a GPU.

On a CPU a number is a float. On a GPU it is a tensor without dimensions, in float64, that stays where the vectors are:
what is made of it there waits for it in the device's own queue, and the host need not. A solver's steps are therefore
written as an endless process without a branch on a number, and `read` gives their numbers as floats. On a GPU it does
so one step late: while the host decides on step k, the device is at work on step k + 1, and neither waits. The step
under way when the solve ends is made in vain, and counted.
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
AHEAD = 1  # steps that the device is ahead of the host; more would only be made in vain


def is_on_gpu(device: torch.device) -> bool:
    """Whether numbers stay on the device: where asking for one makes the host wait until the device has caught up."""
    return device.type == "cuda"


def sqrt(square: AnyNumber) -> AnyNumber:
    """√ of what is not negative; 0 where rounding has left it below. NaN of NaN."""
    return square.clamp(min=0).sqrt() if isinstance(square, Tensor) else math.sqrt(max(square, 0.0))


def divide(a: Number, b: Number) -> Number:
    """a/b as IEEE 754 has it: infinite or NaN where b is 0."""
    if isinstance(a, Tensor) or isinstance(b, Tensor) or b != 0:
        return a / b
    return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)


def inverse_of(norm: Number) -> Number:
    """1/norm, by which a vector is normalised; 1 where the norm is not above 0, so that the vector stays."""
    if isinstance(norm, Tensor):
        return torch.where(norm > 0, 1 / norm, torch.ones_like(norm))
    return 1 / norm if norm > 0 else 1.0


def read(steps: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """The steps of a process with their numbers as floats; on a GPU those of a step while the next is under way."""
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
    """A step whose numbers are on their way to the host, in one transfer that waits for what they are made of alone."""

    def __init__(self, step: tuple[Any, ...]) -> None:
        self.step = step
        self.places = [index for index, entry in enumerate(step) if isinstance(entry, Tensor)]
        self.numbers = torch.stack([step[place] for place in self.places]).to("cpu", non_blocking=True)
        self.event: Any = None
        if is_on_gpu(step[self.places[0]].device) and torch.cuda.is_available():
            self.event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self.event.record()

    def wait(self) -> tuple[Any, ...]:
        """The step, with floats."""
        if self.event is not None:
            self.event.synchronize()
        step = list(self.step)
        for place, number in zip(self.places, self.numbers.tolist(), strict=True):
            step[place] = number
        return tuple(step)
