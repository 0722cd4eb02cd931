"""Normalisation of every kind: right products, by rules where the statistics are of one case or fixed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.rules import check_products, rules_used
from torch import Tensor, nn

from hfbench.curvature.linearisation import Linearisation

KINDS: dict[str, tuple[Callable[..., nn.Module], tuple[int, ...]]] = {
    "layer": (lambda affine=True: nn.LayerNorm(5, elementwise_affine=affine), (4, 5)),
    "layer, two dimensions": (lambda affine=True: nn.LayerNorm((4, 5), elementwise_affine=affine), (4, 5)),
    "layer, no shift": (lambda affine=True: nn.LayerNorm(5, elementwise_affine=affine, bias=False), (4, 5)),
    "group": (lambda affine=True: nn.GroupNorm(2, 4, affine=affine), (4, 5)),
    "group of a picture": (lambda affine=True: nn.GroupNorm(2, 4, affine=affine), (4, 3, 2)),
    "batch": (lambda affine=True: nn.BatchNorm1d(4, affine=affine), (4, 5)),
    "batch of pictures": (lambda affine=True: nn.BatchNorm2d(4, affine=affine), (4, 3, 2)),
}


class Net(nn.Module):
    """Normalised inner values; a channel dimension first, as all kinds but one need."""

    def __init__(self, norm: nn.Module, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.mix, self.norm = nn.Parameter(torch.randn(sizes)), norm
        self.outer = nn.Parameter(torch.randn(sizes))

    def forward(self, x: Tensor) -> Tensor:
        return (torch.tanh(self.norm(x * self.mix)) * self.outer).flatten(1)


def made(name: str, affine: bool) -> tuple[Net, Tensor]:
    torch.manual_seed(0)
    make, sizes = KINDS[name]
    norm = make(affine)
    for p in norm.parameters():
        nn.init.normal_(p)
    for buffer in norm.buffers():
        if buffer.is_floating_point():
            nn.init.uniform_(buffer, 0.5, 1.5)
    return Net(norm, sizes).eval(), torch.randn(3, *sizes)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("name", KINDS)
def test_products(name: str, affine: bool) -> None:
    model, x = made(name, affine)
    check_products(model, x)
    assert rules_used(model, x) == 1


@pytest.mark.parametrize("frozen", ["weight", "bias"])
@pytest.mark.parametrize("name", KINDS)
def test_frozen_scale_or_shift(name: str, frozen: str) -> None:
    model, x = made(name, affine=True)
    if (p := getattr(model.norm, frozen)) is not None:
        p.requires_grad_(False)
    check_products(model, x)


@pytest.mark.parametrize("name", KINDS)
def test_normalised_inputs(name: str) -> None:
    """Scale and shift alone depend on weights."""
    model, x = made(name, affine=True)
    check_products(nn.Sequential(model.norm, nn.Tanh(), nn.Flatten()), x)


def test_statistics_kept_elsewhere_are_pytorchs() -> None:
    """Instance normalisation, and a group norm of values that are no block of memory."""
    torch.manual_seed(0)
    for norm in (nn.InstanceNorm1d(4, affine=True), nn.GroupNorm(2, 4)):
        model = nn.Sequential(nn.Conv1d(2, 4, 1), Turned(), norm, nn.Tanh(), nn.Flatten())
        x = torch.randn(3, 2, 4)
        check_products(model, x)
        assert rules_used(model, x) == 1, "the convolution"


class Turned(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


def test_a_product_needs_few_passes_over_memory() -> None:
    model, x = made("group of a picture", affine=True)
    at = Linearisation(model, "least-squares", x, torch.zeros(3, 24))
    at.jvp(at.gradient)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        at.jvp(at.gradient)
    names = [event.name for event in profile.events()]
    assert names.count("aten::native_group_norm_backward") == names.count("aten::native_group_norm") == 1
    assert names.count("aten::mul") < 8


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("name", KINDS)
def test_a_layer_that_begins_at_zero(name: str, affine: bool) -> None:
    """What is normalised is zero, and so are its statistics, of many rows: a tape keeps one zero of each."""
    model, _ = made(name, affine)
    x = torch.randn(40, *KINDS[name][1])
    with torch.no_grad():
        model.mix.zero_()
    if isinstance(model.norm, nn.BatchNorm1d | nn.BatchNorm2d):
        model.norm.reset_running_stats()
    check_products(model, x)


class Strided(nn.Module):
    """Scale and shift that lie between other numbers."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.mix, self.both = kind, nn.Parameter(torch.randn(4, 4)), nn.Parameter(torch.randn(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        x, (scale, shift) = x * self.mix, self.both.unbind(1)
        if self.kind == "group":
            return nn.functional.group_norm(x, 2, weight=scale, bias=shift).tanh().flatten(1)
        return nn.functional.layer_norm(x, (4,), scale, bias=shift).tanh().flatten(1)


@pytest.mark.parametrize("kind", ["layer", "group"])
def test_scale_and_shift_that_are_no_block_of_memory(kind: str) -> None:
    model, x = Strided(kind), torch.randn(3, 4, 4)
    check_products(model, x)
    assert rules_used(model, x) == 1


@pytest.mark.parametrize("name", ["layer", "group", "batch"])
def test_vectors_that_are_no_blocks_of_memory(name: str) -> None:
    model, x = made(name, affine=True)
    at = Linearisation(model, "least-squares", x, torch.zeros(3, 20))
    v = at.gradient
    apart = v.like(torch.stack((block, block.flip(0)), -1)[..., 0] for block in v)
    assert not apart[1].is_contiguous()
    torch.testing.assert_close(at.jvp(apart), at.jvp(v))
