"""Tensors and layers that a linearisation reads again at later products, watched for what would change them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hfbench.errors import ConfigError
from hfbench.messages import quoted

AGAIN = "linearise it again, or on a clone of them"


class Watched:
    """A batch, a model's layers, and its tensors beside the trained weights, of which a linearisation has copies.

    Seen are changes in place, and others in the place of the model's. Not seen is what writes past PyTorch's version
    counters, as `x.numpy()[0] = 1` and `x.data.mul_(2)` do.
    """

    def __init__(self, batch: Mapping[str, Tensor], model: nn.Module) -> None:
        held, attributes = list(_members(model)), list(_attributes(model))
        fixed = [place for place in (*held, *attributes) if not _is_trained(place.tensor)]
        self.batch = [(what, tensor, _state(tensor)) for what, tensor in batch.items()]
        self.fixed = [(place, _state(place.tensor)) for place in fixed]
        self.held = [(place, place.tensor.requires_grad) for place in held]
        self.layers = [(module, module.training, dict(module._modules)) for module in model.modules()]
        self.model = model

    def check(self) -> None:
        """Raises ConfigError if one of them was changed since the construction."""
        changed = [what for what, tensor, state in self.batch if _state(tensor) != state]
        changed += [place.title(self.model) for place, state in self.fixed if _state(place.tensor) != state]
        if changed:
            raise ConfigError(
                f"{changed[0]} must not change after the model was linearised, but were changed in place: {AGAIN}."
            )
        for place, trained in self.held:
            replaced = place.members.get(place.name) is not place.tensor
            if replaced or place.tensor.requires_grad != trained:
                how = "replaced by others" if replaced else "frozen, or unfrozen"
                raise ConfigError(
                    f"{place.title(self.model)} must stay what they were when the model was linearised, but were "
                    f"{how}: linearise it again."
                )
        for layer, training, inside in self.layers:
            if layer.training != training or layer._modules != inside:
                how = "others took their place" if layer._modules != inside else "train() or eval() was called"
                raise ConfigError(
                    f"layers must stay what they were when the model was linearised, but {how}: linearise it again."
                )


@contextmanager
def changes_explained() -> Iterator[None]:
    """A tensor changed in place that is not watched, such as one in a list, shows in PyTorch's own error."""
    try:
        yield
    except RuntimeError as error:
        if not is_change_in_place(error):
            raise
        raise ConfigError(
            f"what forward reads must not change after the model was linearised, but a tensor of it was changed in "
            f"place: {AGAIN}."
        ) from error


def is_change_in_place(error: RuntimeError) -> bool:
    return "modified by an inplace operation" in str(error)


@dataclass(frozen=True)
class HeldTensor:
    """A tensor, and where a module has it: its parameters, its buffers or its attributes."""

    members: Mapping[str, Any]
    name: str
    tensor: Tensor
    kind: str

    def title(self, model: nn.Module) -> str:
        """`the entries of 'layer.weight'`, or of a buffer."""
        paths = (
            f"{path}.{self.name}".lstrip(".")
            for path, module in model.named_modules()
            if any(self.members is own for own in (module._parameters, module._buffers, vars(module)))
        )
        return f"the entries of {self.kind}{quoted(next(paths, self.name))}"


def _members(model: nn.Module) -> Iterator[HeldTensor]:
    for module in model.modules():
        for members in (module._parameters, module._buffers):
            yield from _places(members, "buffer " if members is module._buffers else "")


def _attributes(model: nn.Module) -> Iterator[HeldTensor]:
    """Tensors that are neither parameters nor buffers; a forward pass may put others in their place."""
    for module in model.modules():
        yield from _places(vars(module), "attribute ")


def _places(members: Mapping[str, Any], kind: str) -> Iterator[HeldTensor]:
    return (HeldTensor(members, name, tensor, kind) for name, tensor in members.items() if isinstance(tensor, Tensor))


def _is_trained(tensor: Tensor) -> bool:
    return isinstance(tensor, nn.Parameter) and tensor.requires_grad


def _state(tensor: Tensor) -> tuple[int, int]:
    """What a change in place, or memory given by `tensor.data = …`, changes."""
    version = 0 if tensor.is_inference() else tensor._version
    return version, tensor.data_ptr() if tensor.layout == torch.strided else 0
