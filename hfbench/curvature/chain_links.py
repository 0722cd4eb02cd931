"""Links of a chain, each a dense layer and its activation: as a model has them, and as a batch has passed them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

aten = torch.ops.aten
SLOPES: dict[type[nn.Module], Any] = {  # (g, φ(s)) ↦ φ'(s)∘g, with `grad_input` in place
    nn.Sigmoid: aten.sigmoid_backward.grad_input,
    nn.Tanh: aten.tanh_backward.grad_input,
    nn.ReLU: lambda g, a, grad_input: aten.threshold_backward.grad_input(g, a, 0, grad_input=grad_input),
}
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@dataclass(frozen=True)
class Link:
    """A dense layer and the activation after it, if any."""

    layer: nn.Linear
    activation: nn.Module | None

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Weight, and bias if there is one."""
        return [p for p in self.layer._parameters.values() if p is not None]  # `parameters()` walks the modules


@dataclass(frozen=True)
class PassedLayer:
    """A link with the tensors of one batch's pass."""

    link: Link
    weight: int  # positions in a vector
    bias: int | None
    W: Tensor
    a: Tensor  # the layer's inputs, cases × features
    activated: Tensor  # φ(s)

    @property
    def dtype(self) -> torch.dtype:
        """That of the layer's products."""
        return self.W.dtype

    def slope(self, g: Tensor, into: Tensor | None = None, columns: int = 1) -> Tensor:
        """φ'∘g, written into a tensor if one is given; g itself if there is no activation.

        g is cases × features, or has a dimension of columns more: the first or the second one, by `columns`.
        """
        if self.link.activation is None:
            return g
        into = torch.empty_like(g) if into is None else into
        activated = self.activated if g.dim() == 2 else self.activated.unsqueeze(columns).expand_as(g)
        SLOPES[type(self.link.activation)](g, activated, grad_input=into)
        return into


def links_of(model: nn.Module, inputs: Tensor) -> list[Link] | None:
    """The model as a chain for these inputs; None if it is not a chain, or a part of it is not trained."""
    links: list[Link] = []
    for module in _in_order(model):
        if type(module) is nn.Linear:
            links.append(Link(module, None))
        elif type(module) in SLOPES and links and links[-1].activation is None:
            links[-1] = Link(links[-1].layer, module)
        else:
            return None
    parameters, own = list(model.parameters()), [p for link in links for p in link.parameters]
    each_once = len({id(p) for p in own}) == len(own) == len(parameters)
    if not links or not each_once or any(_is_altered(module) for module in model.modules()):
        return None
    fits = inputs.shape[1:] == (links[0].layer.in_features,)
    return links if fits and all(_is_trained_on(inputs, p) for p in own) else None


def _in_order(module: nn.Module) -> Iterator[nn.Module]:
    """The modules of nested sequences, in order."""
    if type(module) is not nn.Sequential:  # a subclass may do anything
        yield module
        return
    for part in module:
        yield from _in_order(part)


def _is_altered(module: nn.Module) -> bool:
    """True if a call of the module does more than its class's `forward`."""
    return "forward" in vars(module) or any(getattr(module, hooks) for hooks in HOOKS)


def _is_trained_on(inputs: Tensor, p: Tensor) -> bool:
    return type(p) is nn.Parameter and p.requires_grad and (p.dtype, p.device) == (inputs.dtype, inputs.device)
