"""Matrix products that a Gauss-Newton product cannot avoid, layer by layer, on the model's own layer inputs.

For a dense layer z = a Wᵀ + b, a direction V of its weights, a direction Ra of its inputs, and a cotangent d of z:

    J v     a Vᵀ and Ra Wᵀ
    Jᵀ u    dᵀ a and d W

If a does not depend on parameters, as in the first layer, the second of each is not needed. A convolution has the same
four: two convolutions, by V and by W, and its gradients for weights and inputs, here by PyTorch's kernels, of which
some are slow. A recurrent layer has the dense four at every time step; those without W could be joined over the steps,
which the floor does not assume.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Products = Callable[[], None]
CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)
TRANSPOSED = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)


@dataclass(frozen=True)
class Layer:
    """One use of a layer: its inputs a, its weights W, the shape of z, and the dependence of a on parameters."""

    inputs: Tensor
    weight: Tensor
    shape: torch.Size
    is_inner: bool
    settings: tuple[Any, ...] = ()  # a convolution's, as aten::convolution takes them; none: dense

    def products(self) -> Products:
        a, W, V = self.inputs, self.weight, torch.randn_like(self.weight)
        d, Ra = torch.randn(self.shape, dtype=a.dtype, device=a.device), torch.randn_like(a)
        if self.settings:
            return self._convolutions(a, Ra, W, V, d)
        flat_a, flat_Ra, flat_d = (x.reshape(-1, x.shape[-1]) for x in (a, Ra, d))
        return self._dense(flat_a, flat_Ra, W, V, flat_d)

    def _dense(self, a: Tensor, Ra: Tensor, W: Tensor, V: Tensor, d: Tensor) -> Products:
        def four() -> None:
            torch.mm(a, V.T)
            torch.mm(d.T, a)
            if self.is_inner:
                torch.mm(Ra, W.T)
                torch.mm(d, W)

        return four

    def _convolutions(self, a: Tensor, Ra: Tensor, W: Tensor, V: Tensor, d: Tensor) -> Products:
        forward, backward = torch.ops.aten.convolution, torch.ops.aten.convolution_backward

        def four() -> None:
            forward(a, V, None, *self.settings)
            backward(d, a, W, None, *self.settings, [self.is_inner, True, False])
            if self.is_inner:
                forward(Ra, W, None, *self.settings)

        return four


class Recorder(TorchFunctionMode):
    """Records every dense layer and convolution of a forward pass, applied by a module or a function."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[Layer] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        z = func(*args, **(kwargs or {}))
        if func is functional.linear or func in CONVOLUTIONS or func in TRANSPOSED:
            a, W = args[:2]
            self.layers.append(Layer(a.detach(), W.detach(), z.shape, a.requires_grad, _settings(func, args[3:])))
        return z


def _settings(func: Any, given: Sequence[Any]) -> tuple[Any, ...]:
    """The arguments of a convolution in the order of aten::convolution."""
    if func in CONVOLUTIONS:
        stride, padding, dilation, groups = given
        return stride, padding, dilation, False, [0] * len(stride), groups
    if func in TRANSPOSED:
        stride, padding, output_padding, groups, dilation = given
        return stride, padding, dilation, True, output_padding, groups
    return ()


def layers(model: nn.Module, inputs: Tensor) -> list[Layer]:
    """Every use of a layer in one forward pass, in order."""
    recorder = Recorder()
    with torch.enable_grad(), recorder:
        model(inputs)
    return recorder.layers


def floor(model: nn.Module, inputs: Tensor) -> Products:
    """A call that makes the unavoidable products of one Gauss-Newton product, and nothing else."""
    calls = [layer.products() for layer in layers(model, inputs)]

    def products() -> None:
        for call in calls:
            call()

    return products
