"""Preconditioners over the steps of a run, with or without state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from hfbench.errors import ConfigError
from hfbench.linalg.vector import Shift
from hfbench.parts.protocols import BuiltPreconditioner, Preconditioner, PreconditionerState

if TYPE_CHECKING:
    from hfbench.curvature.linearisation import Linearisation


@dataclass(frozen=True)
class Stateless:
    """A preconditioner without state, built anew at every step."""

    part: Preconditioner

    def build(self, linearisation: Linearisation, shift: Shift, generator: torch.Generator) -> BuiltPreconditioner:
        return self.part.build(linearisation, shift, generator)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises ConfigError for any state."""
        if state:
            raise ConfigError(
                f"the state must be of a preconditioner that keeps none, {type(self.part).__name__}, but has "
                f"{', '.join(map(str, state))}: take the preconditioner that it was saved with."
            )


def begin_preconditioning(preconditioner: Preconditioner, model: nn.Module) -> PreconditionerState:
    """The preconditioner over the steps of a run. Raises ConfigError for a model that it refuses."""
    start = getattr(preconditioner, "begin", None)
    if start is None:
        return Stateless(preconditioner)
    begun: PreconditionerState = start(model)
    return begun
