"""Products on a GPU as CUDA graphs: recorded once per linearisation, then one launch each in place of some sixty.

A product with J or Jᵀ is always the same kernels on the same memory, but for its argument. The first of a kind runs as
it is, which also makes what libraries make at first; the second is recorded; from then on the argument is copied to
where the recorded kernels read it, they are replayed, and what they leave is copied out, so that it is the caller's.
Chains of dense layers alone are replayed: what autograd runs is its own affair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from hfbench.chain import Chain, Link
from hfbench.precision import in_tf32
from hfbench.tally import is_counting, reserve
from hfbench.vector import Vector

_last: dict[torch.device, torch.cuda.CUDAGraph] = {}  # the graph recorded last: its memory is the next one's
_streams: dict[torch.device, torch.cuda.Stream] = {}  # to record on, which the default stream does not allow


class Replayed:
    """A function of tensors whose shapes stay the same."""

    def __init__(self) -> None:
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, call: Callable[[list[Tensor]], list[Tensor]], given: Sequence[Tensor]) -> list[Tensor]:
        """call(given); it is the same function each time, and not kept, since it may own what keeps this."""
        self.calls += 1
        if self.calls == 1:
            return call(list(given))
        if is_counting():  # recording makes tensors of its own, at the first of a process: no two tallies would agree
            return self._counted(call, list(given))
        if self.graph is None:
            self.graph = self._record(call, given)
        torch._foreach_copy_(self.given, list(given))
        self.graph.replay()
        return list(torch._foreach_mul(self.left, 1))  # a copy in one launch

    def _counted(self, call: Callable[[list[Tensor]], list[Tensor]], given: list[Tensor]) -> list[Tensor]:
        """call(given), beside the memory of what is copied to and from the graph."""
        left = call(given)
        if self.calls == 2:
            reserve(sum(one.numel() * one.element_size() for one in (*given, *left)))
        return left

    def _record(self, call: Callable[[list[Tensor]], list[Tensor]], given: Sequence[Tensor]) -> torch.cuda.CUDAGraph:
        """Not by `torch.cuda.graph`, which empties the caches of the whole process first."""
        device = given[0].device
        self.given = [one.clone(memory_format=torch.contiguous_format) for one in given]
        if device not in _streams:
            _streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream, here = _streams[device], torch.cuda.current_stream(device)
        graph, before = torch.cuda.CUDAGraph(), _last.get(device)
        stream.wait_stream(here)
        with torch.cuda.device(device), torch.cuda.stream(stream):
            graph.capture_begin(pool=before.pool() if before else None, capture_error_mode="thread_local")
            try:
                self.left = call(self.given)
            finally:
                graph.capture_end()
        here.wait_stream(stream)
        _last[device] = graph  # a pool lives as long as one of its graphs
        return graph


class ReplayedChain(Chain):
    """A `Chain` on a GPU, its products replayed."""

    def __init__(self, model: nn.Module, links: list[Link], inputs: Tensor, dtype: torch.dtype | None = None) -> None:
        super().__init__(model, links, inputs, dtype)
        self.replayed: dict[tuple[str, bool], Replayed] = {}

    def jvp(self, v: Vector) -> Tensor:
        """J v."""
        self._check_same()
        return self._replayed("jvp")(lambda blocks: [Chain.jvp(self, Vector(blocks))], v)[0]

    def vjp(self, u: Tensor) -> Vector:
        """Jᵀu."""
        self._check_same()
        return Vector(self._replayed("vjp")(lambda one: list(Chain.vjp(self, one[0])), [u]))

    def _replayed(self, name: str) -> Replayed:
        return self.replayed.setdefault((name, in_tf32()), Replayed())
