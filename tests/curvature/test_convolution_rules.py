"""Convolutions of every kind: right products, by rules wherever they hold, each with one convolution per direction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rules import check_products, rules_used
from torch import Tensor, nn
from torch.nn import functional

from hfbench.curvature import convolution_rules
from hfbench.curvature.convolution_rules import ConvolutionSettings, nominal_kernels
from hfbench.curvature.linearisation import Linearisation

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def net(layer: nn.Module) -> nn.Module:
    """The layer between two others, so that its inputs depend on weights as well."""
    kind = type(layer)
    inner = kind(2, layer.in_channels, 1)
    return nn.Sequential(inner, nn.Tanh(), layer, nn.Sigmoid(), nn.Flatten())


@st.composite
def layers(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """A layer of any hyperparameters, and inputs that it takes."""
    dims = draw(st.integers(1, 3))
    transposed, groups = draw(st.booleans()), draw(st.sampled_from([1, 1, 2]))
    some = st.tuples(*[st.integers(1, 4)] * dims)
    kernel, stride = draw(some), draw(st.tuples(*[st.integers(1, 3)] * dims))
    dilation = draw(st.sampled_from([(1,) * dims, (2,) * dims]))
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    padding = tuple(draw(st.integers(0, most)) for most in reach)
    given = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "bias": draw(st.booleans())}
    torch.manual_seed(draw(st.integers(0, 99)))
    if transposed:
        given["output_padding"] = tuple(
            draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
        )
        sizes = [draw(st.integers(1 + -(-r // s), 2 + -(-r // s))) for r, s in zip(reach, stride, strict=True)]
        layer = TRANSPOSED[dims](2 * groups, 3 * groups, kernel, **given)
        sizes = [
            n + (1 if (n - 1) * s - 2 * p + r + 1 <= 0 else 0)
            for n, s, p, r in zip(sizes, stride, padding, reach, strict=True)
        ]
    else:
        sizes = [draw(st.integers(r + 1, r + 4)) for r in reach]
        layer = CONVOLUTIONS[dims](2 * groups, 3 * groups, kernel, **given)
    return layer, torch.randn(2, 2, *sizes)


@settings(deadline=None, max_examples=25)
@given(layers())
def test_products_are_right_for_all_hyperparameters(drawn: tuple[nn.Module, Tensor]) -> None:
    layer, x = drawn
    model = net(layer)
    check_products(model, x)
    assert rules_used(model, x) == 2


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect", "replicate"])
@pytest.mark.parametrize("padding", [1, "same", "valid"])
def test_padding_modes(mode: str, padding: Any) -> None:
    torch.manual_seed(0)
    model, x = net(nn.Conv2d(2, 3, 3, padding=padding, padding_mode=mode)), torch.randn(3, 2, 5, 6)
    check_products(model, x)
    assert rules_used(model, x) == 2


@pytest.mark.filterwarnings("ignore:Using padding=.same.:UserWarning")
def test_padding_of_one_side_is_pytorchs() -> None:
    torch.manual_seed(0)
    model, x = net(nn.Conv1d(2, 3, 4, padding="same")), torch.randn(3, 2, 7)
    check_products(model, x)
    assert rules_used(model, x) == 1


@pytest.mark.parametrize("frozen", ["weight", "bias", "both"])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_frozen_parameters(kind: Any, frozen: str) -> None:
    torch.manual_seed(0)
    layer = kind(2, 3, 4, 2, 1)
    layer.weight.requires_grad_(frozen == "bias")
    layer.bias.requires_grad_(frozen == "weight")
    check_products(net(layer), torch.randn(3, 2, 6, 6))


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_in_place_activations_and_shared_layers(kind: Any) -> None:
    torch.manual_seed(0)
    shared = kind(3, 3, 3, padding=1)
    first = kind(2, 3, 1)
    model = nn.Sequential(first, nn.ReLU(inplace=True), shared, nn.ReLU(inplace=True), shared, nn.Flatten())
    check_products(model, torch.randn(3, 2, 4, 4))


def test_a_weight_computed_in_forward() -> None:
    class Standardised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 2, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            W = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return functional.conv2d(x, W / W.std((1, 2, 3), keepdim=True), padding=1).flatten(1)

    torch.manual_seed(0)
    check_products(Standardised(), torch.randn(3, 2, 4, 4))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 5), st.integers(0, 4), st.integers(1, 4))
def test_phases_are_the_adjoint_of_a_strided_convolution(
    stride: int, multiple: int, channels: int, padding: int, beyond: int, places: int
) -> None:
    """Whatever of the fine grid no window reaches is zero."""
    kernel = stride * multiple
    padding = min(padding, kernel - 1)
    fine = (places - 1) * stride + kernel - 2 * padding + beyond % stride
    if fine < 1:
        return
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(2, channels, kernel, kernel, generator=generator, dtype=torch.float64)
    x = torch.randn(3, 2, places, places, generator=generator, dtype=torch.float64)
    given = ConvolutionSettings([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1)
    shape = torch.Size((3, channels, fine, fine))
    a = x.new_zeros(shape)
    exact = torch.ops.aten.convolution_backward(x, a, W, None, *given, [True, False, False])[0]
    torch.testing.assert_close(convolution_rules._spread(x, W, given, shape), exact, rtol=1e-12, atol=1e-12)


def test_phases_are_taken_where_they_are_faster_and_never_counted() -> None:
    given = ConvolutionSettings([2, 2], [1, 1], [1, 1], True, [0, 0], 1)
    few, many, odd = (torch.empty(64, channels, k, k) for channels, k in ((8, 4), (64, 4), (8, 3)))
    assert [convolution_rules._has_phases(W, given) for W in (few, many, odd)] == [True, False, False]
    with nominal_kernels():
        assert not convolution_rules._has_phases(few, given)


def test_a_picture_without_cases_is_pytorchs() -> None:
    """A layer that gets one picture at a time, as in a loop over cases."""

    class OneByOne(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(1, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.layer(case).flatten() for case in x])

    torch.manual_seed(0)
    model, x = OneByOne(), torch.randn(3, 1, 4, 4)
    check_products(model, x)
    assert rules_used(model, x) == 0


def test_a_product_takes_two_convolutions_for_each_direction() -> None:
    """One by V and one by W; the first layer has no Ra."""
    torch.manual_seed(0)
    model, x = net(nn.Conv2d(2, 3, 3)), torch.randn(3, 2, 6, 6)
    at = Linearisation(model, "least-squares", x, torch.zeros(3, 48))
    at.jvp(at.gradient)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        at.jvp(at.gradient)
    names = [event.name for event in profile.events()]
    assert names.count("aten::convolution") == 3
    assert "aten::convolution_backward" not in names


class Called(nn.Module):
    """A convolution called as a function, with arguments by name and sizes that NumPy made."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.weight, self.bias = kind, nn.Parameter(torch.randn(2, 2, 2)), nn.Parameter(torch.randn(2))

    def forward(self, x: Tensor) -> Tensor:
        given = {"weight": self.weight, "bias": self.bias, "stride": np.int64(2), "padding": (np.int64(1),)}
        z: Tensor = getattr(functional, self.kind)(input=x, **given)
        return z.tanh().flatten(1)


@pytest.mark.parametrize("kind", ["conv1d", "conv_transpose1d"])
def test_arguments_by_name(kind: str) -> None:
    model, x = Called(kind), torch.randn(3, 2, 6)
    check_products(model, x)
    assert rules_used(model, x) == 1
