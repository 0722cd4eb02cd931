"""Derivatives of convolutions and transposed convolutions: one convolution for each direction and each product.

Formula    z = a * W + b:   J v = Ra * W + a * V + v,   and Jᵀu by PyTorch's kernels for the inputs and for the weights
Shapes     a n × channels × the sizes; W outputs × channels × the window, or transposed channels × outputs × the window

PyTorch's transpose of these kernels also computes u * Ra and u * V, which nobody asked for.

A transposed convolution, and the derivative of a strided one by its inputs, spread each entry over a window of a finer
grid. Their kernels take up to ten times as long as a convolution of as many operations. On a CPU, where the window is a
multiple of the stride s, a convolution of stride 1 on the coarse grid takes their place, with an output for each phase
ρ < s of the fine one: entry s m + ρ - padding of the result is Σ_j W[s j + ρ] x[m - j].
Source     Shi et al. (2016), "Real-time single image and video super-resolution", CVPR, section 2.2
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hfbench.curvature.linear_maps import LinearMap, Tangent, each_dimension, is_recorded, with_maps

aten = torch.ops.aten
MANY = 32  # channels of the fine grid with which PyTorch's kernel is as fast as phases (AVX-512)
_nominal = ContextVar("nominal", default=False)


@contextmanager
def nominal_kernels() -> Iterator[None]:
    """Inside, every convolution is PyTorch's own kernel, so that operations are counted alike on all machines."""
    token = _nominal.set(True)
    try:
        yield
    finally:
        _nominal.reset(token)


class ConvolutionSettings(NamedTuple):
    """Arguments of aten::convolution after input, weight and bias."""

    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    transposed: bool
    output_padding: Sequence[int]
    groups: int


def convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:
    """`torch.conv1d` to `conv3d` with these derivatives; None where PyTorch's are to be taken."""
    dims = weight.dim() - 2
    stride, dilation = each_dimension(stride, dims), each_dimension(dilation, dims)
    if padding == "same":
        margins = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        if any(margin % 2 for margin in margins) or max(stride) > 1:  # more on one side than on the other; an error
            return None
        padding = [margin // 2 for margin in margins]
    padding = each_dimension(0 if padding == "valid" else padding, dims)
    settings = ConvolutionSettings(stride, padding, dilation, False, [0] * dims, groups)
    return _convolved(input, weight, bias, settings)


def transposed_convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor | None:
    """`torch.conv_transpose1d` to `conv_transpose3d`, likewise."""
    dims = weight.dim() - 2
    stride, padding, dilation, output_padding = (
        each_dimension(setting, dims) for setting in (stride, padding, dilation, output_padding)
    )
    settings = ConvolutionSettings(stride, padding, dilation, True, output_padding, groups)
    return _convolved(input, weight, bias, settings)


def _convolved(a: Tensor, W: Tensor, bias: Tensor | None, settings: ConvolutionSettings) -> Tensor | None:
    if not is_recorded(a, W, bias) or a.dim() != W.dim():
        return None
    with torch.no_grad():
        z = aten.convolution(a, W, bias, *settings)
    maps: list[tuple[LinearMap, Sequence[Tangent]]] = []
    if a.requires_grad:
        to_inputs, of_inputs = partial(_to_inputs, settings, a.shape), partial(_of_inputs, settings, z.shape)
        kept = (W.detach(), a.detach()) if W.requires_grad else (W.detach(),)  # a, which is kept for W, has the shape
        maps.append((LinearMap(kept, to_inputs, of_inputs), [a]))
    weights = [x if x is not None and x.requires_grad else None for x in (W, bias)]
    wanted = [x is not None for x in weights]
    if any(wanted):
        to_weights, of_weights = (
            partial(_to_weights, settings, W.shape, wanted),
            partial(_of_weights, settings, z.shape),
        )
        maps.append((LinearMap((a.detach(),), to_weights, of_weights), weights))
    return with_maps(z, maps)


# ---------------------------------------------------------------- the two maps


def _of_inputs(settings: ConvolutionSettings, shape: torch.Size, kept: Sequence[Tensor], Ra: Tensor) -> Tensor:
    return _applied(Ra, kept[0], settings, shape)


def _to_inputs(settings: ConvolutionSettings, shape: torch.Size, kept: Sequence[Tensor], u: Tensor) -> Sequence[Tensor]:
    W, *others = kept
    if not settings.transposed and _has_phases(W, settings):
        return [_spread(u, W, settings, shape)]
    a = others[0] if others else u.new_empty(shape)
    return [aten.convolution_backward(u, a, W, None, *settings, [True, False, False])[0]]


def _of_weights(
    settings: ConvolutionSettings, shape: torch.Size, kept: Sequence[Tensor], V: Tangent, v: Tangent
) -> Tensor:
    (a,) = kept
    Rz = a.new_zeros(shape) if V is None else _applied(a, V, settings, shape)
    return Rz if v is None else Rz.add_(v.view(-1, *[1] * (a.dim() - 2)))


def _to_weights(
    settings: ConvolutionSettings, shape: torch.Size, wanted: Sequence[bool], kept: Sequence[Tensor], u: Tensor
) -> Sequence[Tangent]:
    (a,) = kept
    W = u.new_empty(shape)
    blocks = aten.convolution_backward(u, a, W, [u.shape[1]], *settings, [False, *wanted])[1:]
    return [block if is_wanted else None for block, is_wanted in zip(blocks, wanted, strict=True)]


# ---------------------------------------------------------------- the convolution itself


def _applied(a: Tensor, W: Tensor, settings: ConvolutionSettings, shape: torch.Size) -> Tensor:
    """The convolution without bias, whose result has this shape."""
    if settings.transposed and _has_phases(W, settings):
        return _spread(a, W, settings, shape)
    z: Tensor = aten.convolution(a, W, None, *settings)
    return z


def _has_phases(W: Tensor, settings: ConvolutionSettings) -> bool:
    """True if phases are to be taken: all have equally many of the window's entries, and the fine grid few channels."""
    return (
        W.device.type == "cpu"
        and not _nominal.get()
        and W.shape[1] < MANY
        and max(settings.stride) > 1
        and max(*settings.dilation, settings.groups) == 1
        and all(k % s == 0 for k, s in zip(W.shape[2:], settings.stride, strict=True))
    )


def _spread(x: Tensor, W: Tensor, settings: ConvolutionSettings, shape: torch.Size) -> Tensor:
    """Σ_j W[s j + ρ] x[m - j] at every s m + ρ - padding in this shape, for W of channels of x × of the result."""
    strides, dims = list(settings.stride), len(settings.stride)
    windows = [k // s for k, s in zip(W.shape[2:], strides, strict=True)]
    by_phase = W.reshape(*W.shape[:2], *(n for pair in zip(windows, strides, strict=True) for n in pair))
    outer, inner = range(2, 2 + 2 * dims, 2), range(3, 3 + 2 * dims, 2)
    kernel = by_phase.permute(*inner, 1, 0, *outer).flip(tuple(range(2 + dims, 2 + 2 * dims)))
    margins, ones = [n - 1 for n in windows], [1] * dims
    coarse = aten.convolution(x, kernel.reshape(-1, len(W), *windows), None, ones, margins, ones, False, [0] * dims, 1)
    coarse = coarse.view(len(x), *strides, shape[1], *coarse.shape[2:])
    z = x.new_zeros(shape)
    for phase in product(*map(range, strides)):
        spans = [
            _spans(rho, s, p, n, m)
            for rho, s, p, n, m in zip(
                phase, strides, settings.padding, shape[2:], coarse.shape[2 + dims :], strict=True
            )
        ]
        fine, own = ([span[i] for span in spans] for i in range(2))
        z[:, :, *fine] = coarse[:, *phase, :, *own]
    return z


def _spans(rho: int, stride: int, padding: int, fine: int, coarse: int) -> tuple[slice, slice]:
    """Entries of the fine grid that are of phase rho, and their m on the coarse grid, of these sizes."""
    start = (rho - padding) % stride
    first = (start + padding) // stride
    size = max(0, min(coarse - first, -(-(fine - start) // stride)))
    return slice(start, start + stride * size, stride), slice(first, first + size)


RULES: dict[Any, Callable[..., Tensor | None]] = {
    **dict.fromkeys((torch.conv1d, torch.conv2d, torch.conv3d), convolution),
    **dict.fromkeys(
        (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d),
        transposed_convolution,
    ),
}
