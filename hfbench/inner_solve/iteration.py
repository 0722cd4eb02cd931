"""Inner iteration without end or branch: run step by step, or captured once on a GPU and replayed.

A solver writes its iteration as a generator. Each step yields the tensors it keeps for the next step, and its results:
    yield (x, r, p, ry), (pAp, x, gain, ry)              vectors, and numbers made of them (`hfbench.linalg.scalars`)
The next step depends on the kept tensors and on nothing else that changes. On a CPU the generator just runs. On a GPU
its first two steps are launched kernel by kernel, so that everything that is made once exists. The third is captured as
a CUDA graph that ends by copying the kept tensors to their old place, and every later step is one launch of that graph.
The generator is not used any more.

This requires a system and a preconditioner that launch the same kernels on the same memory, whatever the numbers. They
declare it by `replayable`; with others the steps run one by one on a GPU too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from hfbench.curvature import cuda_graphs
from hfbench.curvature.work_ledger import ledger_of
from hfbench.linalg.scalars import Number, read
from hfbench.linalg.vector import Vector
from hfbench.memory.allocations import is_counting
from hfbench.parts.protocols import BuiltPreconditioner, System

if TYPE_CHECKING:
    from hfbench.inner_solve.system import GaussNewtonSystem

Entries = tuple[Vector | Number, ...]
Process = Iterator[tuple[Entries, Entries]]


def follow(process: Process, system: System, preconditioner: BuiltPreconditioner) -> Iterator[tuple[Any, ...]]:
    """Results of the process's steps in order, with numbers as floats (`hfbench.linalg.scalars.read`)."""
    if all(getattr(part, "replayable", False) for part in (system, preconditioner)):
        return read(replay(process, cast("GaussNewtonSystem", system)))
    return read(told for _, told in process)


def replay(process: Process, system: GaussNewtonSystem) -> Iterator[Entries]:
    """Results of the steps, replayed from the third on. Raises TypeError for entries that cannot be replayed.

    The results are copies, since the next step uses the same memory.
    """
    at, chain = system.linearisation, system.linearisation.replayed
    assert chain is not None  # or the system is not replayable
    with chain.launched():
        for _ in range(cuda_graphs.LAUNCHED):
            kept, told = next(process)
            yield _copied(told)
        given = [_tensors(entry) for entry in kept]  # and with the yield above no one else's
        del kept, told
        if is_counting():  # recording makes tensors of its own, at the first of a process: no two tallies would agree
            for _, told in process:
                yield _copied(told)
        ledger = ledger_of(at.ledger)
        before = ledger.state_dict()
        graph, told = cuda_graphs.capture_graph(lambda: _advanced(process, given), given[0][0].device)
        counted = ledger.since(before)
        ledger.load_state_dict(before)  # it is done, and counted, at each replay
        while True:
            at.check_unchanged()  # as a product does
            ledger.add(counted)
            graph.replay()
            yield _copied(told)


def _advanced(process: Process, given: list[list[Tensor]]) -> Entries:
    """Results of a step from the given kept tensors, which it overwrites with the new ones."""
    kept, told = next(process)
    places = {_place(tensor) for block in given for tensor in block}
    told = tuple(_like(entry, _apart(_tensors(entry), places)) for entry in told)
    moved = [(block, left) for block, left in zip(given, map(_tensors, kept), strict=True) if not _same(block, left)]
    for block, left in [(block, _apart(left, places)) for block, left in moved]:
        torch._foreach_copy_(block, left)
    return told


def _tensors(entry: Any) -> list[Tensor]:
    """Tensors of an entry of a step."""
    if isinstance(entry, Vector):
        return list(entry.parts)
    if isinstance(entry, Tensor):
        return [entry]
    raise TypeError(
        "a replayed process must keep and yield vectors and numbers of the device, but a step has a "
        f"{type(entry).__name__}: constants belong before the first step."
    )


def _like(entry: Any, tensors: Sequence[Tensor]) -> Any:
    """An entry of the same kind, made of these tensors."""
    return entry.with_parts(tensors) if isinstance(entry, Vector) else tensors[0]


def _same(block: list[Tensor], left: list[Tensor]) -> bool:
    """True if the tensors left are those given, changed in place or not at all."""
    return all(mine is tensor for mine, tensor in zip(block, left, strict=True))


def _apart(tensors: list[Tensor], places: set[int]) -> list[Tensor]:
    """The tensors, copied if they share memory with the given ones, which will be overwritten."""
    return [tensor.clone() if _place(tensor) in places else tensor for tensor in tensors]


def _place(one: Tensor) -> int:
    return one.untyped_storage().data_ptr()


def _copied(told: Entries) -> Entries:
    """All numbers, and each vector, in one launch."""
    numbers = [entry for entry in told if isinstance(entry, Tensor)]
    copies = iter(torch.stack(numbers).unbind() if numbers else ())
    return tuple(
        next(copies) if isinstance(entry, Tensor) else _like(entry, torch._foreach_mul(_tensors(entry), 1))
        for entry in told
    )
