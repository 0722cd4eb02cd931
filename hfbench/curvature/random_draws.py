"""Random numbers that a model's own passes draw, told from those of other threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Draws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Whether an operation of this thread drew from the generators of CPU and device; `found` is true then."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device, self.found = device, False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.found or torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        before = self.states()  # it may draw; dropout with p = 0 does not
        made = func(*args, **kwargs)
        self.found = any(not torch.equal(a, b) for a, b in zip(before, self.states(), strict=True))
        return made

    def states(self) -> list[Tensor]:
        """The states of the CPU's generator and of the device's."""
        states = [torch.get_rng_state()]
        if self.device.type != "cpu":
            states.append(torch.get_device_module(self.device).get_rng_state(self.device))
        return states


@contextmanager
def draws_undone(device: torch.device) -> Iterator[Draws]:
    """Inside, draws are noticed, and undone at the end; without any, the generators are not touched."""
    draws = Draws(device)
    states = draws.states()
    try:
        with draws:
            yield draws
    finally:
        if draws.found:
            torch.set_rng_state(states[0])
            for state in states[1:]:
                torch.get_device_module(device).set_rng_state(state, device)
