"""What a CUDA graph does, on a CPU: operations recorded with the memory that they read and write, and run again there.

As on a GPU, recording runs nothing: what it would have changed is put back. What it made is the graph's own, and lost
between replays (here NaN), as it is where several graphs share a pool; and what it read from elsewhere is not kept, so
that replaying once nobody else keeps that either is found out. A number that the host asks for ends a recording.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

Made = TypeVar("Made")

aten = torch.ops.aten
WAITING = (aten._local_scalar_dense, aten.is_nonzero, aten.nonzero, aten.equal, aten.masked_select, aten.unique_dim)


@dataclass
class Call:
    """One operation."""

    func: Any
    args: Any
    kwargs: Any
    made: list[Tensor] = field(default_factory=list)  # written to at each replay; none where it works in place

    def run(self) -> None:
        returned = self.func(*self.args, **self.kwargs)
        if self.made:
            for mine, one in zip(self.made, tensors(returned), strict=True):
                mine.copy_(one)


class Recording(TorchDispatchMode):
    """`with Recording() as graph:` records; `graph.replay()` runs."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.own: dict[int, Tensor] = {}  # what was made here, by its memory
        self.others: dict[int, list[Tensor]] = {}  # what was there before
        self.before: dict[int, tuple[Tensor, Tensor]] = {}  # what of it was written to, and its content
        self.replays = 0

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        for there, content in self.before.values():
            there.copy_(content)
        self.before.clear()
        self._forget()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in WAITING:
            raise RuntimeError(f"{func} makes the host wait, which a graph cannot record")
        kwargs = kwargs or {}
        writes, views = kinds(func)
        for name, given in writes.items():
            for one in tensors(given(args, kwargs)):
                self._remember(one, name)
        kept_args, kept_kwargs = tree_map_only(Tensor, self._kept, (args, kwargs))
        returned = func(*args, **kwargs)
        if views:
            return returned
        call = Call(func, kept_args, kept_kwargs)
        if not writes:
            call.made = tensors(returned)
            self.own |= {place(one): one for one in call.made}
        self.calls.append(call)
        return returned

    def replay(self) -> None:
        """All operations once more. Raises RuntimeError where something that they read has been let go of."""
        self.replays += 1
        for known in self.others.values():
            storage = known[0].untyped_storage()
            if torch._C._storage_Use_Count(storage._cdata) <= len(known) + 1:
                raise RuntimeError(f"memory of {list(known[0].shape)} that the graph reads is nobody's any more")
        self._forget()
        for call in self.calls:
            call.run()

    def _kept(self, one: Tensor) -> Tensor:
        """A tensor as an operation's argument: what was made elsewhere by its memory alone."""
        if place(one) in self.own:
            return one
        alias = torch.empty(0, dtype=one.dtype).set_(
            one.untyped_storage(), one.storage_offset(), one.shape, one.stride()
        )
        self.others.setdefault(place(one), []).append(alias)
        return alias

    def _remember(self, one: Tensor, name: str) -> None:
        if place(one) not in self.own and place(one) not in self.before:
            whole = torch.empty(0, dtype=one.dtype).set_(one.untyped_storage())
            self.others.setdefault(place(one), []).append(whole)
            self.before[place(one)] = whole, whole.clone()

    def _forget(self) -> None:
        for one in self.own.values():
            if one.is_floating_point():
                one.fill_(math.nan)


def record(call: Callable[[], Made], device: torch.device) -> tuple[Recording, Made]:
    """In place of `hfbench.curvature.cuda_graphs.capture_graph`."""
    graph = Recording()
    with graph:
        made = call()
    return graph, made


def kinds(func: Any) -> tuple[dict[str, Callable[[Any, Any], Any]], bool]:
    """How to find the arguments that an operation writes to, and whether what it returns is a view of an argument."""
    writes = {}
    for position, one in enumerate(func._schema.arguments):
        if one.alias_info is not None and one.alias_info.is_write:
            writes[one.name] = lambda args, kwargs, position=position, name=one.name: (
                args[position] if position < len(args) else kwargs.get(name)
            )
    views = not writes and any(one.alias_info is not None for one in func._schema.returns)
    return writes, views


def tensors(given: Any) -> list[Tensor]:
    return [one for one in tree_flatten(given)[0] if isinstance(one, Tensor)]


def place(one: Tensor) -> int:
    return one.untyped_storage()._cdata
