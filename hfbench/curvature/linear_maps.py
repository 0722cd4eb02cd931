"""Derivatives of an operation written out, in the place of those that PyTorch records.

J v is the transpose of a recorded transpose (`hfbench.curvature.autograd_tape`). That is as cheap as forward mode for a
matrix product, but not for every operation: of a convolution PyTorch also computes two derivatives that nobody asked
for, and a normalisation falls into twenty passes over memory. An operation with a rule has instead, at its inputs x,
    z = op(x)                as PyTorch computes it, bit for bit
    pull: u ↦ Jᵀu            a cotangent for each of some of the inputs
    push: v ↦ J v            the transpose of that
Its graph has one node for each linear map, so that a backward pass makes only those that it needs.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad
from torch.autograd.function import once_differentiable

Tangent = Tensor | None  # None: zero


class DifferentiatedInside(Exception):
    """A forward pass differentiates itself, twice in all; the transpose of a rule is linear in u alone."""


@dataclass
class ForwardPass:
    """A forward pass that is recorded; what is differentiated after it has ended is a transpose."""

    has_ended: bool = False


_under_way: ContextVar[ForwardPass | None] = ContextVar("_under_way", default=None)


@contextmanager
def forward_pass() -> Iterator[None]:
    """Inside, a graph of the derivatives of a rule is refused with DifferentiatedInside."""
    recorded = ForwardPass()
    token = _under_way.set(recorded)
    try:
        yield
    finally:
        recorded.has_ended = True
        _under_way.reset(token)


@dataclass(frozen=True)
class LinearMap:
    """Part of an operation's Jacobian: the columns that belong to some of its inputs.

    `pull(kept, u)` has one cotangent for each of them, None for one without gradients; `push(kept, *v)` is their part
    of J v, given at least one tangent. Tensors that both read are `kept`, where PyTorch sees a change in place.
    """

    kept: tuple[Tensor, ...]
    pull: Callable[[Sequence[Tensor], Tensor], Sequence[Tangent]]
    push: Callable[..., Tensor]


def with_maps(z: Tensor, maps: Sequence[tuple[LinearMap, Sequence[Tangent]]]) -> Tensor:
    """z, a tensor without a graph, with the derivatives of these maps by their inputs."""
    like = z.new_empty(()).expand(z.shape)
    parts = [_Part.apply(like, linear_map, *inputs) for linear_map, inputs in maps]  # type: ignore[no-untyped-call]
    recorded: Tensor = _Sum.apply([z if z._base is None else z.clone()], *parts)  # type: ignore[no-untyped-call]
    return recorded


class _Sum(Function):
    """The value, and a derivative of 1 by every part, whose values are nothing."""

    @staticmethod
    def forward(ctx: Any, value: Sequence[Tensor], *parts: Tensor) -> Tensor:
        ctx.count = len(parts)
        return value[0]  # in a list, so that it is an output as if it were computed here

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> Any:
        return None, *[u] * ctx.count


class _Part(Function):
    """Stand-in for one map's part of the value, of its shape and without memory."""

    @staticmethod
    def forward(ctx: Any, like: Tensor, linear_map: LinearMap, *inputs: Tangent) -> Tensor:
        ctx.linear_map, ctx.forward_pass = LinearMap((), linear_map.pull, linear_map.push), _under_way.get()
        ctx.save_for_backward(*linear_map.kept)
        return like.view_as(like)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> Any:
        if torch.is_grad_enabled() and ctx.forward_pass is not None and not ctx.forward_pass.has_ended:
            raise DifferentiatedInside
        return None, None, *_Pull.apply(u, ctx.linear_map, *ctx.saved_tensors)  # type: ignore[no-untyped-call]


class _Pull(Function):
    """u ↦ Jᵀu, which is linear, with its transpose as its derivative."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, linear_map: LinearMap, *kept: Tensor) -> Any:
        ctx.linear_map = linear_map
        ctx.save_for_backward(*kept)
        ctx.set_materialize_grads(False)
        return tuple(linear_map.pull(kept, u))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *v: Tangent) -> Any:
        # A tape keeps a tensor of zeros as a single one, of which kernels would read beyond the end.
        kept = [x.contiguous() if 0 in x.stride() else x for x in ctx.saved_tensors]
        return ctx.linear_map.push(kept, *v), None, *[None] * len(kept)


def is_recorded(*inputs: Any) -> bool:
    """True if a rule may take the operation's place: plain tensors, and nothing else that rewrites the graph."""
    tensors = [x for x in inputs if x is not None]
    return (
        torch.is_grad_enabled()
        and all(type(x) in (Tensor, torch.nn.Parameter) and x.layout == torch.strided for x in tensors)
        and any(x.requires_grad for x in tensors)
        and all(x.dtype == tensors[0].dtype and x.dtype.is_floating_point and not x.is_nested for x in tensors)
        and not torch.is_autocast_enabled(tensors[0].device.type)
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
        and torch._C._autograd._top_saved_tensors_default_hooks(False) is None  # a pass that is made again, say
    )


def each_dimension(setting: Any, dims: int) -> list[int]:
    """A setting for each dimension: the same for all, where it is a single number."""
    try:
        return [operator.index(setting)] * dims
    except TypeError:
        numbers = [operator.index(number) for number in setting]
        return numbers * dims if len(numbers) == 1 else numbers
