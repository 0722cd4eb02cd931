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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

Tangent = Tensor | None  # None: zero


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
    made: Tensor = _Sum.apply([z if z._base is None else z.clone()], *parts)  # type: ignore[no-untyped-call]
    return made


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
    def forward(ctx: Any, like: Tensor, of: LinearMap, *inputs: Tangent) -> Tensor:
        ctx.of = LinearMap((), of.pull, of.push)
        ctx.save_for_backward(*of.kept)
        return like.view_as(like)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> Any:
        return None, None, *_Pull.apply(u, ctx.of, *ctx.saved_tensors)  # type: ignore[no-untyped-call]


class _Pull(Function):
    """u ↦ Jᵀu, which is linear, with its transpose as its derivative."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, of: LinearMap, *kept: Tensor) -> Any:
        ctx.of = of
        ctx.save_for_backward(*kept)
        ctx.set_materialize_grads(False)
        return tuple(of.pull(kept, u))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *v: Tangent) -> Any:
        kept = ctx.saved_tensors
        return ctx.of.push(kept, *v), None, *[None] * len(kept)


def is_recorded(*inputs: Any) -> bool:
    """True if a rule may take the operation's place: plain tensors, and nothing else that rewrites the graph."""
    tensors = [x for x in inputs if x is not None]
    return (
        torch.is_grad_enabled()
        and all(type(x) in (Tensor, torch.nn.Parameter) and x.layout == torch.strided for x in tensors)
        and any(x.requires_grad for x in tensors)
        and all(x.dtype == tensors[0].dtype and x.dtype.is_floating_point for x in tensors)
        and not torch._C._are_functorch_transforms_active()
        and torch._C._autograd._top_saved_tensors_default_hooks(False) is None  # a pass that is made again, say
    )
