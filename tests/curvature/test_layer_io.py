"""Inputs and deltas of layers: rows that add up to the gradients of autograd, and layers that have none."""

from __future__ import annotations

import pytest
import torch
from support.misplaced_cases import MISPLACED, batch_of
from torch import nn

from hfbench.curvature.layer_io import Capture, covered_layers, is_covered

CASES = 5
LAYERS = {
    "dense": (nn.Linear(4, 3), (CASES, 4)),
    "dense on sequences": (nn.Linear(4, 3), (CASES, 6, 4)),
    "convolution": (nn.Conv2d(2, 3, 3, stride=2, padding=1), (CASES, 2, 7, 6)),
    "convolution of same size": (nn.Conv1d(2, 3, 4, padding="same", dilation=2), (CASES, 2, 9)),
    "transposed convolution": (nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1), (CASES, 2, 4, 5)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("entries", [10**9, 1])
def test_rows_add_up_to_the_gradients_of_autograd(name: str, entries: int) -> None:
    layer, shape = LAYERS[name]
    model = nn.Sequential(layer.double(), nn.Tanh())
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with Capture(model, CASES, dict(model.named_parameters())) as capture:
        z = model(x)
    u = torch.randn(z.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert capture.explains(z)
    (seen,) = capture.passes(z, u)
    weight, bias = torch.autograd.grad(z, [layer.weight, layer.bias], u)
    slices = list(seen.slices(entries))
    assert len(slices) == (1 if entries > CASES else CASES)
    by_rows = sum(torch.einsum("ntp,ntq->pq", *part.rows()) for part in slices)
    torch.testing.assert_close(by_rows.reshape(weight.shape), weight)
    torch.testing.assert_close(sum(part.units.sum((0, 1)) for part in slices), bias)
    left, right = seen.rows()
    assert left.shape[1] == right.shape[1] == seen.places
    assert seen.is_plain == (name == "dense")


def test_cases_are_found_by_deltas_once_a_pass() -> None:
    """With as many places as cases, or rows cut anew, shapes are alike; what is asked for once is kept."""
    for name in MISPLACED:
        model, x = batch_of(name)
        with Capture(model, len(x), dict(model.named_parameters())) as capture:
            z = model(x)
        assert not capture.explains(z) or name == "lone-case", name  # which has cases first but with one alone
    model, x = nn.Conv1d(2, 3, 2).double(), torch.ones(CASES, 2, CASES, dtype=torch.float64)
    with Capture(model, CASES, dict(model.named_parameters())) as capture:
        z = model(x)
    assert capture.explains(z)
    capture.passes = None  # would be called
    assert capture.explains(z)


def test_layers_that_are_not_covered_are_named() -> None:
    assert not is_covered(nn.Conv1d(4, 4, 3, groups=2))
    assert not is_covered(nn.ConvTranspose1d(4, 4, 3, stride=1, dilation=3, output_padding=2))
    layers, fault = covered_layers(nn.Sequential(nn.Conv1d(4, 4, 3), nn.Conv1d(4, 4, 3, groups=2), nn.Linear(2, 2)))
    assert (list(layers), fault) == (["0", "2"], "layer '1' (Conv1d, groups=2) is of another kind")
    shared = nn.Linear(3, 3)
    other = nn.Linear(3, 3)
    other.weight = shared.weight
    layers, fault = covered_layers(nn.Sequential(shared, other, nn.Linear(3, 3)))
    assert (list(layers), fault) == (["2"], "layers '0' and '1' share parameter '0.weight'")
    assert covered_layers(nn.Sequential(shared, nn.Tanh())) == ({"0": shared}, "")


def test_a_layer_called_twice_and_one_never_called_are_faults() -> None:
    twice = nn.Linear(3, 3)
    x = torch.ones(CASES, 3)
    model = nn.Sequential(twice, twice)
    with Capture(model, CASES, dict(model.named_parameters())) as capture:
        z = model(x)
    assert "is called more than once in a forward pass" in capture.problem(z)
    assert list(capture.passes(z, torch.ones_like(z))) == []
    model = nn.Sequential(twice, nn.Linear(3, 3))
    with Capture(model, CASES, dict(model.named_parameters())) as capture:
        z = twice(x)
    assert "layer '1' (Linear) is not called in the model's forward pass" in capture.problem(z)
    assert [seen.layer for seen in capture.passes(z, torch.ones_like(z))] == [twice]
    assert not twice._forward_hooks
