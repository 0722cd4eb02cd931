"""Scale of the features, and the sentence on large ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hfbench.curvature.feature_scale import largest_of, said_of_large


@pytest.mark.parametrize(
    ("inputs", "largest"),
    [
        (torch.tensor([[1.0, -2e12]]), 2e12),
        (torch.tensor([[3, 50_000]]), 0.0),  # indices of an embedding
        (torch.tensor([[True]]), 0.0),
        (torch.empty(0, 3), 0.0),
    ],
)
def test_the_largest_size_is_that_of_numbers_alone(inputs: Tensor, largest: float) -> None:
    assert largest_of(inputs) == pytest.approx(largest)


def test_only_large_features_are_worth_a_sentence() -> None:
    assert said_of_large(torch.tensor([[100.0]])) == ""
    assert said_of_large(torch.tensor([[-2e12]])).startswith(" Features reach 2e+12 in size. Standardise")
