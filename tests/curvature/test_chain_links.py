"""Models that are chains of dense layers, and those that are not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hfbench.curvature.chain_links import links_of


def two_layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))


@pytest.mark.parametrize("x", [torch.randn(5, 4), torch.randn(5, 2, 3), torch.randn(5, 3).double(), torch.randn(3)])
def test_inputs_that_are_not_its_vectors_are_the_models_own_affair(x: Tensor) -> None:
    assert links_of(two_layers(), torch.randn(5, 3)) is not None
    assert links_of(two_layers(), x) is None


def test_a_layer_alone_is_a_chain_and_an_empty_sequence_is_none() -> None:
    assert links_of(nn.Linear(3, 2), torch.randn(5, 3)) is not None
    assert links_of(nn.Sequential(), torch.randn(5, 3)) is None
