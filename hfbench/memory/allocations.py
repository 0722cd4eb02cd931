"""Bytes of the tensors alive, counted operation by operation, whatever the allocator adds.

A `Tally` sees every tensor that an operation makes, forward or backward, and notices when its memory is freed. What
one kernel allocates and frees inside itself it does not see. Loops over slices of cases go through `case_slices`: of
these the moments have the first slice alone, as large as any other, so that they do not depend on how many there are.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_active: Tally | None = None


@dataclass(frozen=True)
class Moment:
    """After an operation that allocated."""

    live: int  # bytes of tensors made since the tally began, and not freed
    within: int = 0  # of them, those made in a slice of at most `size` cases
    size: int = 0


class Tally(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """`with Tally() as tally:` counts what is alive of the tensors made inside: `peak` bytes at most, and by moment."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.moments: list[Moment] = []
        self.live = self.peak = 0
        self.muted = False
        self.slice: Moment | None = None  # where a bounded slice began
        self.highest = 0  # bytes alive at once in it
        self._known: dict[int, weakref.ref[Any]] = {}

    def __enter__(self) -> Tally:
        global _active
        self._outer, _active = _active, self
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *raised: Any) -> None:
        global _active
        _active = self._outer
        super().__exit__(*raised)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for given in _tensors((args, *kwargs.values())):
            self._note(given, is_new=False)  # made before: an output may share its memory
        made = func(*args, **kwargs)
        if sum([self._note(tensor, is_new=True) for tensor in _tensors((made,))]) and not self.muted:
            if self.slice is None:
                self.moments.append(Moment(self.live))
            else:
                self.highest = max(self.highest, self.live)
        return made

    def begin_slice(self, size: int) -> None:
        """Until its end there is one moment, the highest: case by case, how many there are may depend on the cases."""
        self.slice, self.highest = Moment(self.live, 0, size), self.live

    def end_slice(self) -> None:
        """The end of a bounded slice."""
        begun = self.slice
        if begun is not None and not self.muted:
            self.moments.append(Moment(self.highest, self.highest - begun.live, begun.size))
        self.slice = None

    def _note(self, one: Tensor, is_new: bool) -> int:
        """The bytes that are new with this tensor."""
        if one.layout != torch.strided or one.is_meta:
            return 0
        storage = one.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return 0
        size = storage.nbytes() if is_new else 0
        self._known[key] = weakref.ref(storage, partial(self._freed, key, size))
        self.live += size
        self.peak = max(self.peak, self.live)
        return size

    def _freed(self, key: int, size: int, _: object) -> None:
        self.live -= size
        del self._known[key]


def _tensors(given: Iterable[Any]) -> Iterator[Tensor]:
    for argument in given:
        if isinstance(argument, Tensor):
            yield argument
        elif isinstance(argument, list | tuple):
            yield from _tensors(argument)


def is_counting() -> bool:
    """Whether a tally is active."""
    return _active is not None


def reserve(size: int) -> None:
    """Counts bytes that are not made here but would be, until the active tally ends."""
    if _active:
        _active.live += size
        _active.peak = max(_active.peak, _active.live)


def case_slices(cases: int, size: int, bounded: bool = False) -> Iterator[slice]:
    """0 … cases - 1 in consecutive slices of `size`, the last one shorter.

    `bounded` tells a tally that `size` is a constant: however many the cases, no slice has more.
    """
    for start in range(0, cases, size):
        leave = _enter(start, size, bounded) if _active else None
        try:
            yield slice(start, min(start + size, cases))
        finally:
            if leave:
                leave()


def _enter(start: int, size: int, bounded: bool) -> Callable[[], None]:
    tally = _active
    assert tally is not None
    muted, outermost = tally.muted, bounded and tally.slice is None
    tally.muted = muted or start > 0
    if outermost:
        tally.begin_slice(size)

    def leave() -> None:
        if outermost:
            tally.end_slice()
        tally.muted = muted

    return leave
