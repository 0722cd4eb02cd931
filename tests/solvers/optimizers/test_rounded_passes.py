"""Passes in bfloat16: which layers keep float32, that the model is left as it was, and what an update comes to."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hfbench import registry
from hfbench.solvers.optimizers.rounded_passes import passes_in


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(100, 90), nn.Tanh(), nn.Linear(90, 3), nn.Linear(3, 100))


def test_dense_layers_of_few_weights_keep_float32() -> None:
    model, x, dtypes = net(), torch.rand(8, 100), []
    for layer in model:
        layer.register_forward_hook(lambda layer, given, output: dtypes.append(output.dtype))
    with passes_in("bfloat16", model, model[0].weight)():
        z = model(x)
    assert dtypes == [torch.bfloat16, torch.bfloat16, torch.float32, torch.float32]
    hidden = torch.tanh(nn.functional.linear(x.bfloat16(), model[0].weight.bfloat16(), model[0].bias.bfloat16()))
    torch.testing.assert_close(z, model[3](model[2](hidden.float())))


def test_in_the_precision_of_the_weights_nothing_is_touched() -> None:
    model, x = net(), torch.rand(8, 100)
    with passes_in("parameters", model, model[0].weight)():
        assert "forward" not in vars(model[2])
        assert model(x).dtype == torch.float32


def test_the_model_is_left_as_it_was_by_an_error_too() -> None:
    model = net()
    passes, seen = passes_in("bfloat16", model, model[0].weight), []

    def fail() -> None:
        with passes():
            seen.append("forward" in vars(model[2]))
            model(torch.rand(4, 7))

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        fail()
    assert seen == [True]
    assert all("forward" not in vars(layer) for layer in model)
    assert not torch.is_autocast_enabled("cpu")


def test_a_layer_with_a_forward_of_its_own_is_left_to_it() -> None:
    model = net()
    model[2].forward = lambda x: x[:, :3].float() * 2
    with passes_in("bfloat16", model, model[0].weight)():
        assert model(torch.rand(4, 100)).shape == (4, 100)
    assert "forward" in vars(model[2])


def test_updates_go_through_it() -> None:
    """Gradients of the narrow layers are those of float32 up to what the wide one rounds."""
    x = torch.rand(16, 100)
    moved = {}
    for precision in ("parameters", "bfloat16"):
        model = net()
        part = registry.build("optimizer", {"use": "sgd", "lr": 0.1, "momentum": 0.0, "precision": precision})
        optimizer = part.begin(model, "logistic", (0.0,) * 6)
        optimizer.step(x, x)
        moved[precision] = [
            p.detach() - q.detach() for p, q in zip(model.parameters(), net().parameters(), strict=True)
        ]
    for exact, rounded in zip(moved["parameters"], moved["bfloat16"], strict=True):
        assert 0 < float((exact - rounded).norm()) < 2**-6 * float(exact.norm())
