"""Tensors that a linearisation reads again at later products, watched by their version counters."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from hfbench.errors import ConfigError


class Watched:
    """Tensors, by what they are, that must not be changed in place."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.watched = [(what, tensor, _version(tensor)) for what, tensor in tensors.items()]

    def check(self) -> None:
        """Raises ConfigError if one of them was changed in place since the construction."""
        for what, tensor, version in self.watched:
            if _version(tensor) != version:
                raise ConfigError(
                    f"{what} must not change after the model was linearised, but were changed in place: linearise it "
                    "again, or on a clone of them."
                )


def not_trained(model: nn.Module) -> dict[str, Tensor]:
    """The frozen parameters and the buffers of a model."""
    frozen = {f"the entries of {name!r}": p for name, p in model.named_parameters() if not p.requires_grad}
    return frozen | {f"the entries of buffer {name!r}": buffer for name, buffer in model.named_buffers()}


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version
