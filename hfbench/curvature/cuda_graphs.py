"""CUDA graphs of products with J and Jᵀ: captured once, then one launch instead of about sixty.

If the solver allows it, whole iterations of a solve are captured (`hfbench.inner_solve.iteration`); this module serves
all other products. Except for its argument, a product with J or Jᵀ is always the same kernels on the same memory. The
first two of a kind are launched normally, which also lets libraries create their handles. (A step whose solve is
captured whole needs no more than these two: the gradient, and the residual at the start.) The third is captured. From
then on the argument is copied to the graph's input, the kernels are replayed, and the result is copied out, so that the
caller owns it. Only chains of dense layers are replayed; autograd's kernels are not under our control.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from hfbench.memory.allocations import is_counting, reserve

LAUNCHED = 2  # calls before the one that is recorded

Made = TypeVar("Made")

_last: dict[torch.device, torch.cuda.CUDAGraph] = {}  # the graph recorded last: its memory is the next one's
_streams: dict[torch.device, torch.cuda.Stream] = {}  # to record on, which the default stream does not allow


class CudaGraph(Protocol):
    """A captured CUDA graph."""

    def replay(self) -> None:
        """Launches the captured kernels again, on the same memory."""


def capture_graph(call: Callable[[], Made], device: torch.device) -> tuple[CudaGraph, Made]:
    """Captures the call's kernels; returns the graph and the call's results, whose memory each `replay` fills.

    `torch.cuda.graph` is not used, because it first empties the caches of the whole process.
    """
    if device not in _streams:
        _streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream, here = _streams[device], torch.cuda.current_stream(device)
    graph, before = torch.cuda.CUDAGraph(), _last.get(device)
    stream.wait_stream(here)
    with torch.cuda.device(device), torch.cuda.stream(stream):
        graph.capture_begin(pool=before.pool() if before else None, capture_error_mode="thread_local")
        try:
            made = call()
        finally:
            graph.capture_end()
    here.wait_stream(stream)
    _last[device] = graph  # a pool lives as long as one of its graphs
    return graph, made


class Replayed:
    """A function of tensors with fixed shapes, captured at its third call."""

    def __init__(self) -> None:
        self.calls = 0
        self.graph: CudaGraph | None = None

    def __call__(self, call: Callable[[list[Tensor]], list[Tensor]], given: Sequence[Tensor]) -> list[Tensor]:
        """call(given). `call` must be the same function each time; it is not stored, since it may own this object."""
        self.calls += 1
        if self.calls <= LAUNCHED:
            return call(list(given))
        if is_counting():  # recording makes tensors of its own, at the first of a process: no two tallies would agree
            return self._counted(call, list(given))
        graph = self.graph or self._record(call, given)
        torch._foreach_copy_(self.given, list(given))
        graph.replay()
        return list(torch._foreach_mul(self.left, 1))  # a copy in one launch

    def _counted(self, call: Callable[[list[Tensor]], list[Tensor]], given: list[Tensor]) -> list[Tensor]:
        """call(given), counted together with the memory of the copies to and from the graph."""
        left = call(given)
        if self.calls == LAUNCHED + 1:
            reserve(sum(tensor.numel() * tensor.element_size() for tensor in (*given, *left)))
        return left

    def _record(self, call: Callable[[list[Tensor]], list[Tensor]], given: Sequence[Tensor]) -> CudaGraph:
        self.given = [tensor.clone(memory_format=torch.contiguous_format) for tensor in given]
        self.graph, self.left = capture_graph(lambda: call(self.given), self.given[0].device)
        return self.graph
