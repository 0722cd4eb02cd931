"""Derivatives of average pooling in windows that do not overlap: sums of slices, for PyTorch's slow kernels.

Formula    z = (1/k) Σ of a over a window of k entries:   J v the same of Ra, Jᵀu = u/k in every entry of the window
Shapes     a and Ra n × channels × the sizes, z and u the same with every size divided by that of the window
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hfbench.curvature.linear_maps import LinearMap, each_dimension, is_recorded, with_maps


def average_pooling(
    pool: Callable[..., Tensor],
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor | None:
    """`pool`, which is `torch.nn.functional.avg_pool1d` to `avg_pool3d`, with these derivatives where they hold."""
    dims = DIMENSIONS[pool]
    window, padding = each_dimension(kernel_size, dims), each_dimension(padding, dims)
    is_apart = not stride or each_dimension(stride, dims) == window  # windows side by side
    fits = input.dim() == dims + 2 and all(n % k == 0 for n, k in zip(input.shape[2:], window, strict=False))
    is_mean = is_apart and fits and not any(padding) and divisor_override is None
    if not is_recorded(input) or not is_mean or len(window) != dims:
        return None
    with torch.no_grad():
        z = pool(input, window)
    pooled = LinearMap((), partial(_spread, window), partial(_averaged, window))
    return with_maps(z, [(pooled, [input])])


def _averaged(window: Sequence[int], _: Any, Ra: Tensor) -> Tensor:
    for axis, size in enumerate(window, 2):  # rows first: sums along memory
        first, *others = Ra.unflatten(axis, (-1, size)).unbind(axis + 1)  # type: ignore[no-untyped-call]
        Ra = first.clone() if not others else first + others[0]
        for other in others[1:]:
            Ra += other
    return Ra.div_(prod(window))


def _spread(window: Sequence[int], _: Any, u: Tensor) -> tuple[Tensor]:
    fine = u / prod(window)
    for axis in reversed(range(2, u.dim())):
        size = window[axis - 2]
        wide = fine.new_empty([*fine.shape[: axis + 1], size, *fine.shape[axis + 1 :]])
        for index in range(size):
            wide.select(axis + 1, index).copy_(fine)
        fine = wide.flatten(axis, axis + 1)
    return (fine,)


DIMENSIONS = {functional.avg_pool1d: 1, functional.avg_pool2d: 2, functional.avg_pool3d: 3}
RULES: dict[Any, Callable[..., Tensor | None]] = {pool: partial(average_pooling, pool) for pool in DIMENSIONS}
