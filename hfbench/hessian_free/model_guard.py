"""Checks of a model during training: it is still the model that was given, and a function of each case.

Properties that the model itself shows are checked at every step (`hfbench.curvature.model_checks`). Properties that
show only when it runs are tried on a few cases at the first step, and again after train() or eval()
(`hfbench.curvature.model_trial`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hfbench.curvature.model_checks import check_batch, check_context, check_layers, check_model, trainable
from hfbench.curvature.model_trial import try_out
from hfbench.curvature.weights_by_name import check_memory
from hfbench.errors import ConfigError
from hfbench.messages import quoted

Traits = tuple[torch.Size, torch.dtype, torch.device]


class Guard:
    """The checks of one model, made at construction and before each step."""

    def __init__(self, model: nn.Module) -> None:
        check_model(model)
        self.model, self.trained = model, trainable(model)
        check_memory(self.trained)
        self.traits = [_traits(p) for p in self.trained.values()]
        self.memory = self._memory()
        self.tried: tuple[bool, ...] | None = None  # the layers' modes when the model was last tried

    def check(self, loss: str, inputs: Any, targets: Any, curvature: Any = None) -> None:
        """Raises ConfigError if a step on these cases would be wrong."""
        first = next(iter(self.trained.values()))
        check_context(first.device)
        check_batch(inputs, targets, first)
        if curvature is not None:
            if not isinstance(curvature, tuple | list) or len(curvature) != 2:
                raise ConfigError(
                    f"curvature: must be a pair (inputs, targets) or None, but got {type(curvature).__name__}."
                )
            x, t = curvature
            check_batch(x, t, first)
        self._check_same()
        modes = check_layers(self.model, self.trained)
        if modes != self.tried and try_out(self.model, loss, inputs, targets):
            self.tried = modes

    def _memory(self) -> list[int]:
        return [p.data_ptr() for p in self.trained.values()]

    def _check_same(self) -> None:
        """Raises unless the trained parameters are still those given, with the same shapes, precision and device."""
        now = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        again = "construct HessianFree anew; load_state_dict carries damping and warm start over"
        if now.keys() != self.trained.keys():
            added = ", ".join(name for name in now if name not in self.trained) or "none"
            gone = ", ".join(name for name in self.trained if name not in now) or "none"
            raise ConfigError(
                "the trained parameters must be those that HessianFree was constructed with, but since then some were "
                f"frozen or removed ({gone}) or unfrozen or added ({added}): set requires_grad before, and "
                "construct HessianFree anew."
            )
        for (name, p), traits in zip(now.items(), self.traits, strict=True):
            if p is not self.trained[name]:
                raise ConfigError(
                    f"parameter {quoted(name)} was replaced by another one since the construction: {again}."
                )
            if _traits(p) != traits:
                raise ConfigError(
                    f"parameter {quoted(name)} was a tensor of {_of(traits)} at the construction and is now of "
                    f"{_of(_traits(p))}: convert or move the model first, then {again}."
                )
        if self.memory != self._memory():  # `weight.data = …` since the last step
            check_memory(self.trained)
            self.memory = self._memory()


def _traits(p: Tensor) -> Traits:
    return p.shape, p.dtype, p.device


def _of(traits: Traits) -> str:
    shape, dtype, device = traits
    return f"shape {tuple(shape)}, {dtype}, on {device}"
