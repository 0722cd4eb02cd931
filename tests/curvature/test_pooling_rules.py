"""Average pooling: right products, by the rule where windows do not overlap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.rules import check_products, rules_used
from torch import Tensor, nn
from torch.nn import functional

LAYERS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
BY_RULE: list[tuple[Any, tuple[int, ...]]] = [
    (nn.AvgPool1d(3), (6,)),
    (nn.AvgPool2d(2), (4, 6)),
    (nn.AvgPool2d((1, 3)), (2, 6)),
    (nn.AvgPool2d((4, 1), (4, 1)), (8, 3)),
    (nn.AvgPool3d(2), (2, 4, 2)),
]
PYTORCHS: list[tuple[Any, tuple[int, ...]]] = [
    (nn.AvgPool1d(3, 1), (6,)),
    (nn.AvgPool2d(2, padding=1), (4, 6)),
    (nn.AvgPool2d(2), (5, 7)),
    (nn.AvgPool2d(2, ceil_mode=True), (5, 7)),
    (nn.AvgPool2d(2, divisor_override=3), (4, 4)),
    (nn.AdaptiveAvgPool2d(2), (5, 4)),
    (nn.MaxPool2d(2), (4, 4)),
    (nn.MaxPool2d(3, 2, 1), (5, 5)),
    (nn.LPPool2d(2, 2), (4, 4)),
]


def net(pool: nn.Module, dims: int) -> nn.Module:
    return nn.Sequential(LAYERS[dims](2, 3, 1), nn.Sigmoid(), pool, nn.Tanh(), nn.Flatten())


@pytest.mark.parametrize(("pool", "sizes"), BY_RULE)
def test_windows_that_do_not_overlap(pool: nn.Module, sizes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model, x = net(pool, len(sizes)), torch.randn(3, 2, *sizes)
    check_products(model, x)
    assert rules_used(model, x) == 2, "the convolution and the pooling"


@pytest.mark.parametrize(("pool", "sizes"), PYTORCHS)
def test_others_are_pytorchs(pool: nn.Module, sizes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model, x = net(pool, len(sizes)), torch.randn(3, 2, *sizes)
    check_products(model, x)
    assert rules_used(model, x) == 1, "the convolution"


class Called(nn.Module):
    """Pooling called as a function, with its arguments by name."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(input=self.layer(x), kernel_size=np.int64(2), stride=(2, np.int64(2))).flatten(1)


def test_arguments_by_name() -> None:
    torch.manual_seed(0)
    model, x = Called(), torch.randn(3, 1, 4, 4)
    check_products(model, x)
    assert rules_used(model, x) == 2
