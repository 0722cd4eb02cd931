"""Forecast of a step's peak memory from steps of a few cases, and the chunk that keeps it below a limit.

At any moment of a step the bytes of tensors alive are linear in how many cases it sees:
    bytes_t = a_t + Σ b_t cases + c_t chunk        cases of a batch, and of the chunk in the model
A step is rehearsed on a few cases, on one more of each batch, and on one more in the chunk, each under a tally
(`hfbench.memory.allocations`); differences give a_t, b_t and c_t, and the largest sum over t is the peak at any size.
So the prediction knows no solver, preconditioner, layer or layout, and holds for all of them: that of CG on a dense
network is
    parameters, gradient, warm start, x, r, y, p, A p, M and the iterates kept for backtracking, P entries each,
    + per case: what the forward pass saves, and the widest layers of a product
    (of a network that is no chain of dense layers the transposed graph as well)
A rehearsal leaves optimiser, generators and work ledger as they were; one per shape of the batch suffices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hfbench.errors import ConfigError
from hfbench.memory.allocations import Moment, Tally
from hfbench.memory.byte_sizes import in_words

Sizes = Mapping[str, int]  # cases by batch, and "chunk" where one is streamed
Array = npt.NDArray[np.float64]

WHOLE, STREAMED, CHUNK = 2, 5, 3  # cases of a rehearsal: of a batch that is whole or not, and of a chunk


@dataclass(frozen=True)
class Forecast:
    """Bytes of tensors alive at each moment of a rehearsed computation, as lines in the numbers of cases."""

    names: tuple[str, ...]
    fixed: Array  # moments
    each: Array  # moments × names
    within_fixed: Array  # the same for what is made in a slice that has a most of cases
    within_each: Array
    most: Array  # cases of a slice; infinite outside

    @classmethod
    def of(cls, run: Callable[[Sizes], object], sizes: Sizes) -> Forecast:
        """From `run` at these sizes and with one case more of each in turn."""
        names = tuple(sizes)
        runs = [_moments(run, sizes), *(_moments(run, {**sizes, name: sizes[name] + 1}) for name in names)]
        if len({len(moments) for moments in runs}) > 1:  # not the same computation: only their peaks compare
            runs = [[max(moments, key=lambda moment: moment.live)] for moments in runs]
        at = np.array([sizes[name] for name in names], dtype=float)
        within = np.array([[moment.within for moment in moments] for moments in runs], dtype=float)
        outside = np.array([[moment.live for moment in moments] for moments in runs], dtype=float) - within
        each, within_each = (outside[1:] - outside[0]).T, (within[1:] - within[0]).T
        most = np.array([moment.size or np.inf for moment in runs[0]])
        return cls(names, outside[0] - each @ at, each, within[0] - within_each @ at, within_each, most)

    def peak(self, sizes: Sizes) -> int:
        """The most bytes alive at once."""
        at = np.array([sizes[name] for name in self.names], dtype=float)
        inside = (np.minimum(at, self.most[:, None]) * self.within_each).sum(1) + self.within_fixed
        return int((self.fixed + self.each @ at + inside).max(initial=0.0))

    def largest(self, name: str, limit: int, sizes: Sizes, high: int) -> int:
        """The most cases of `name`, up to `high`, whose peak is within the limit; 0 if none are. By bisection."""
        low = 0
        while low < high:
            middle = (low + high + 1) // 2
            fits = self.peak({**sizes, name: middle}) <= limit
            low, high = (middle, high) if fits else (low, middle - 1)
        return low


def _moments(run: Callable[[Sizes], object], sizes: Sizes) -> list[Moment]:
    with Tally() as tally:
        run(sizes)
    return tally.moments


@dataclass(frozen=True)
class ChunkPlan:
    """How a computation is to be carried out: cases in the model at once (None: all), and its peak in bytes."""

    chunk: int | None
    peak: int | None  # None where it cannot be told


def plan_chunk(
    forecast: Callable[[Sizes], Forecast], cases: Sizes, held: int, chunk: int | None, limit: int | None
) -> ChunkPlan:
    """The plan for batches of so many `cases` that has most of them in the model at once.

    `forecast` is given the sizes of a rehearsal. `held` bytes are there anyway; `chunk` is the most cases, `limit` the
    most bytes: both hold. Raises ConfigError, saying what one case needs, for a limit below that.
    """

    def predicted(size: int | None) -> tuple[Forecast, Sizes]:
        streamed = [name for name, n in cases.items() if size is not None and size < n]
        most = max(cases.values())  # a smaller batch may be part of the largest, and is in each rehearsal
        whole = {name: WHOLE + 2 * (n == most and len(cases) > 1) for name, n in cases.items()}
        first_cases = whole | dict.fromkeys(streamed, STREAMED)
        return forecast({**first_cases, "chunk": CHUNK} if streamed else first_cases), {**cases, "chunk": size or 0}

    sizes = sorted(set(cases.values()))
    if chunk is None or chunk >= sizes[-1]:
        lines, at = predicted(None)
        if limit is None or held + lines.peak(at) <= limit:
            return ChunkPlan(None, held + lines.peak(at))
    elif limit is None:
        lines, at = predicted(chunk)
        return ChunkPlan(chunk, held + lines.peak(at))
    for low, high in _ranges(sizes, chunk):
        lines, at = predicted(high)
        size = _even(lines.largest("chunk", limit - held, at, high), sizes[-1], low)
        if size >= low:
            return ChunkPlan(size, held + lines.peak({**at, "chunk": size}))
    raise ConfigError(_too_small(limit, held, *predicted(1 if sizes[0] > 1 else None), sum(cases.values())))


def _ranges(sizes: Sequence[int], chunk: int | None) -> Iterator[tuple[int, int]]:
    """From the largest chunks down: those that stream the larger batch alone, and those that stream both."""
    bounds = [1, *sizes]
    for low, beyond in reversed(list(zip(bounds[:-1], bounds[1:], strict=True))):
        high = min(beyond - 1, chunk or beyond)
        if low <= high:
            yield low, high


def _even(size: int, cases: int, low: int) -> int:
    """As many chunks of `cases`, of equal size where that is not below `low`."""
    equal = -(-cases // -(-cases // size)) if size else 0
    return max(equal, low) if size >= low else size


def _too_small(limit: int, held: int, lines: Forecast, at: Sizes, cases: int) -> str:
    needed = held + lines.peak(at)
    alone = max(held, held + lines.peak({**at, "chunk": 0})) if "chunk" in lines.names else held
    one = f"{in_words(needed - alone)} for one case in the model and {in_words(alone)} for all else"
    return (
        f"max_bytes: must be at least {in_words(needed)} for {cases} cases ({one}: weights, batch, the solver's "
        f"vectors, outputs), but is {in_words(limit)}: raise it, or give fewer cases or a lower max_inner."
    )


def plan_of(
    run: Callable[[Tensor, Tensor, int | None], object],
    inputs: Tensor,
    targets: Tensor,
    held: int,
    chunk: int | None,
    limit: int | None,
) -> ChunkPlan:
    """How `run(inputs, targets, chunk)`, which does the same whatever the cases, is to be carried out."""
    x, t = first_cases(inputs), first_cases(targets)

    def rehearse(sizes: Sizes) -> None:
        run(x[: sizes["cases"]], t[: sizes["cases"]], sizes.get("chunk"))

    return plan_chunk(partial(Forecast.of, rehearse), {"cases": len(inputs)}, held, chunk, limit)


# ---------------------------------------------------------------- what is there anyway


def resident_bytes(model: nn.Module, tensors: Iterable[Tensor]) -> int:
    """The bytes of a model's parameters and buffers and of these tensors, each counted once."""
    held = {
        _place(tensor): tensor.numel() * tensor.element_size()
        for tensor in (*model.parameters(), *model.buffers(), *tensors)
    }
    return sum(held.values())


def _place(one: Tensor) -> tuple[Any, ...]:
    return one.device, one.data_ptr(), one.shape, one.dtype


def first_cases(tensor: Tensor) -> Tensor:
    """The first cases, as many as a rehearsal may want; repeated where there are fewer."""
    return tensor.detach()[torch.arange(STREAMED + 1, device=tensor.device) % len(tensor)]
