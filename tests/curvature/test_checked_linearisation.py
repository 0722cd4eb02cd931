"""`linearize`: checked on a few cases, or on all where the model takes no fewer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import hfbench
from hfbench.errors import ConfigError

CASES = 12


class OfOneSize(nn.Module):
    """A model for batches of twelve cases, which may keep its layer in a plain list."""

    def __init__(self, listed: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.scale = nn.Parameter(torch.ones(3))
        self.layers = [self.layer] if listed else None
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        weight = self.layers[0].weight if self.layers else self.layer.weight
        return x.view(CASES, 4) @ weight.T * self.scale


def test_a_model_of_one_batch_size_is_linearised_and_checked_on_all_cases() -> None:
    torch.manual_seed(0)
    x, t = torch.randn(CASES, 4), torch.randn(CASES, 3)
    model = OfOneSize(listed=False)
    at = hfbench.linearize(model, "least-squares", x, t)
    assert float((at.jvp(at.parameters) * at.residual).sum()) == pytest.approx(
        at.vjp(at.residual).dot(at.parameters), rel=1e-5
    )
    assert 4 in model.seen, "a few cases were tried"
    # A layer that a module and a plain list hold is reached by name; its weight alone in a list is not.
    hidden = OfOneSize(listed=False)
    hidden.layers = [nn.Linear(4, 3)]
    hidden.layers[0].weight = hidden.layer.weight
    with pytest.raises(ConfigError, match=r"'layer\.weight' is reached otherwise"):
        hfbench.linearize(hidden, "least-squares", x, t)
    hfbench.linearize(OfOneSize(listed=True), "least-squares", x, t)
