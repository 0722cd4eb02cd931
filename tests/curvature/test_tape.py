"""The tape that records a model: a chain's where it is one, and autograd's for every other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from hfbench.curvature.autograd_tape import AutogradTape
from hfbench.curvature.tape import record_tape
from hfbench.curvature.weights_by_name import own_weights


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Residual(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def two_layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))


def frozen() -> nn.Module:
    model = two_layers()
    model[0].bias.requires_grad_(False)
    return model


def shared() -> nn.Module:
    layer = nn.Linear(3, 3)
    return nn.Sequential(layer, nn.Tanh(), layer)


def tied() -> nn.Module:
    model = two_layers()
    model[2].weight = model[0].weight
    return model


def hooked(kind: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        model = two_layers()
        getattr(model[1], kind)(lambda *given: None)
        return model

    return make


def replaced() -> nn.Module:
    model = two_layers()
    model[1].forward = torch.relu  # type: ignore[method-assign]
    return model


def normed() -> nn.Module:
    model = two_layers()
    parametrizations.weight_norm(model[0])
    return model


def pruned() -> nn.Module:
    model = two_layers()
    prune.l1_unstructured(model[0], "weight", 0.5)
    return model


NO_CHAINS: dict[str, Callable[[], nn.Module]] = {
    "a subclass of a layer": lambda: nn.Sequential(Doubled(3, 3)),
    "a subclass of a sequence": lambda: Residual(nn.Linear(3, 3), nn.Tanh()),
    "one inside": lambda: nn.Sequential(nn.Linear(3, 3), Residual(nn.Linear(3, 3), nn.Tanh())),
    "another activation": lambda: nn.Sequential(nn.Linear(3, 3), nn.GELU(), nn.Linear(3, 3)),
    "an activation first": lambda: nn.Sequential(nn.Tanh(), nn.Linear(3, 3)),
    "two activations": lambda: nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Sigmoid()),
    "a norm": lambda: nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)),
    "a frozen bias": frozen,
    "a layer twice": shared,
    "a tied weight": tied,
    "a forward hook": hooked("register_forward_hook"),
    "a hook before": hooked("register_forward_pre_hook"),
    "another forward": replaced,
    "a parametrisation": normed,
    "a pruned layer": pruned,
}


@pytest.mark.parametrize("which", NO_CHAINS)
def test_what_is_no_chain_is_recorded(which: str) -> None:
    torch.manual_seed(0)
    model, x = NO_CHAINS[which](), torch.randn(5, 3)
    graph = record_tape(model, x, own_weights(model))
    assert isinstance(graph, AutogradTape)
    assert torch.equal(graph.z, model(x))
