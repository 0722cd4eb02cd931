"""Derivatives of layer, group and fixed batch normalisation, each by one of PyTorch's kernels.

Formula    z = γ∘x̂ + β,   x̂ = (x - mean)/deviation:
           J v = γ∘(x̂' Rx) + V∘x̂ + v,   Jᵀu = x̂' (γ∘u), Σ u∘x̂, Σ u

The derivative x̂' = (1 - 1·1ᵀ/m - x̂·x̂ᵀ/m)/deviation over the m entries that are normalised together is symmetric, so
that the kernel of the transpose serves both directions; x̂ with V and v is that of the forward pass. PyTorch records its
transpose in some twenty passes over memory instead.
Shapes     x, z, Rx, u alike; γ, β, V, v of the features or channels
Source     Pearlmutter (1994), "Fast exact multiplication by the Hessian", section 3 (the operator R)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hfbench.curvature.linear_maps import LinearMap, Tangent, is_recorded, with_maps

aten = torch.ops.aten
Kernel = Callable[[Tensor, Tangent, Tangent], Sequence[Tensor]]  # x, γ, β ↦ z and statistics
Transpose = Callable[[Tensor, Tensor, Sequence[Tensor], Tangent, list[bool]], Sequence[Tangent]]  # u, x, statistics, γ


@dataclass(frozen=True)
class Normalisation:
    """Kernels of one kind at one call; `scale_shape` is that of γ where it is multiplied with x."""

    forward: Kernel
    transpose: Transpose
    scale_shape: Sequence[int]

    def recorded(self, x: Tensor, scale: Tangent, shift: Tangent) -> Tensor | None:
        """z with its derivatives; None where PyTorch's are to be taken."""
        if not is_recorded(x, scale, shift):
            return None
        with torch.no_grad():
            z, *statistics = self.forward(x, scale, shift)
        inputs = [given if given is not None and given.requires_grad else None for given in (x, scale, shift)]
        wanted = [given is not None for given in inputs]
        has_scale = scale is not None
        kept = [x.detach(), *statistics, *([scale.detach()] if scale is not None else [])]

        def pull(kept: Sequence[Tensor], u: Tensor) -> Sequence[Tangent]:
            statistics = kept[1 : len(kept) - has_scale]
            blocks = self.transpose(u, kept[0], statistics, kept[-1] if has_scale else None, wanted)
            return [block if is_wanted else None for block, is_wanted in zip(blocks, wanted, strict=True)]

        def push(kept: Sequence[Tensor], Rx: Tangent, V: Tangent, v: Tangent) -> Tensor:
            x, statistics = kept[0], kept[1 : len(kept) - has_scale]
            of_weights: Tangent = None
            if V is not None:
                of_weights = self.forward(x, V, v)[0]
            elif v is not None:
                of_weights = v.view(self.scale_shape).expand(x.shape)
            if Rx is None:
                assert of_weights is not None  # one of them is given
                return of_weights
            along = self.transpose(Rx, x, statistics, None, [True, False, False])[0]
            assert along is not None  # it is wanted
            if has_scale:
                gamma = kept[-1].view(self.scale_shape)
                return along * gamma if of_weights is None else torch.addcmul(of_weights, along, gamma)
            return along if of_weights is None else along + of_weights

        return with_maps(z, [(LinearMap(tuple(kept), pull, push), inputs)])


def layer_norm(
    x: Tensor, normalized_shape: Sequence[int], weight: Tangent = None, bias: Tangent = None, eps: float = 1e-5
) -> Tensor | None:
    """`torch.nn.functional.layer_norm`."""
    shape = [normalized_shape] if isinstance(normalized_shape, int) else list(normalized_shape)

    def transpose(u: Tensor, x: Tensor, statistics: Sequence[Tensor], scale: Tangent, wanted: list[bool]) -> Any:
        return aten.native_layer_norm_backward(u, x, shape, *statistics, scale, scale, wanted)

    return Normalisation(lambda x, V, v: aten.native_layer_norm(x, shape, V, v, eps), transpose, shape).recorded(
        x, weight, bias
    )


def group_norm(
    x: Tensor, num_groups: int, weight: Tangent = None, bias: Tangent = None, eps: float = 1e-5
) -> Tensor | None:
    """`torch.nn.functional.group_norm`."""
    if x.dim() < 2 or not x.is_contiguous() or num_groups < 1 or x.shape[1] % num_groups:
        return None
    sizes = [len(x), x.shape[1], prod(x.shape[2:]), num_groups]

    def transpose(u: Tensor, x: Tensor, statistics: Sequence[Tensor], scale: Tangent, wanted: list[bool]) -> Any:
        return aten.native_group_norm_backward(u.contiguous(), x, *statistics, _packed(scale), *sizes, wanted)

    def forward(x: Tensor, V: Tangent, v: Tangent) -> Any:
        return aten.native_group_norm(x, _packed(V), _packed(v), *sizes, eps)

    return Normalisation(forward, transpose, [-1, *[1] * (x.dim() - 2)]).recorded(x, weight, bias)


def _packed(scale: Tangent) -> Tangent:
    """The entries side by side, as the kernel of group normalisation reads them."""
    return None if scale is None else scale.contiguous()


def batch_norm(
    x: Tensor,
    running_mean: Tangent,
    running_var: Tangent,
    weight: Tangent = None,
    bias: Tangent = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor | None:
    """`torch.nn.functional.batch_norm` with fixed statistics."""
    if training or running_mean is None or running_var is None:
        return None
    fixed = running_mean, running_var

    def transpose(u: Tensor, x: Tensor, statistics: Sequence[Tensor], scale: Tangent, wanted: list[bool]) -> Any:
        return aten.native_batch_norm_backward(u, x, scale, *statistics, None, None, False, eps, wanted)

    def forward(x: Tensor, V: Tangent, v: Tangent) -> tuple[Tensor, ...]:
        return functional.batch_norm(x, running_mean, running_var, V, v, False, momentum, eps), *fixed

    return Normalisation(forward, transpose, [-1, *[1] * (x.dim() - 2)]).recorded(x, weight, bias)


RULES: dict[Any, Callable[..., Tensor | None]] = {
    functional.layer_norm: layer_norm,
    functional.group_norm: group_norm,
    functional.batch_norm: batch_norm,
}
