"""The heat equation on an interval: a physics-informed network in space and time.

Equation   u_t = ¼ u_xx for 0 < x < 1, 0 < t ≤ 1,  u(x, 0) = sin(πx),
           u(0, t) = u(1, t) = 0
Solution   u = exp(-π²t/4) sin(πx)
Network    2-32-32-1, tanh units; Glorot's normal weights, biases zero
Loss       ½ mean (u_t - ¼ u_xx)² + ½ w mean (u - g)² at points inside and on
           the three faces with conditions
Error      ‖u - u*‖/‖u*‖ on a grid of 65 × 65 points; validation: at random
Source     Müller and Zeinhofer (2023), "Achieving high accuracy with PINNs via
           energy natural gradient descent", section 4.2
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from hfbench.parts import DataFile, TaskData, part

from .collocation import (
    Boundary,
    ConditionWeight,
    Equation,
    Interior,
    Layers,
    ResidualNetwork,
    ValidationPoints,
    relative_error,
    residual_data,
)
from .common import Decay, DecayMask, Target, checked_layers


def _solution(x: Tensor) -> Tensor:
    """u = exp(-π²t/4) sin(πx)."""
    return torch.exp(-(math.pi**2) / 4 * x[:, 1]) * torch.sin(math.pi * x[:, 0])


def _operator(x: Tensor, u: Tensor, du: Tensor, ddu: Tensor) -> Tensor:
    """u_t - ¼ u_xx."""
    return du[:, 1] - ddu


EQUATION = Equation(
    low=(0.0, 0.0),
    high=(1.0, 1.0),
    kappa=(0.25, 0.0),
    operator=_operator,
    condition=_solution,
    solution=_solution,
    faces=((0, 0), (0, 1), (1, 0)),
)


@final
@part
class Heat1D:
    """Heat equation in space and time: residual network."""

    loss: ClassVar[str] = "least-squares"
    files: ClassVar[tuple[DataFile, ...]] = ()
    budget: ClassVar[Mapping[str, float]] = {"passes": 2000.0}
    error_is_root: ClassVar[bool] = True

    layers: Layers = (32, 32)
    interior: Interior = 900
    boundary: Boundary = 240
    weight: ConditionWeight = 1.0
    decay: Decay = 0.0
    decay_mask: DecayMask = "weights"
    target: Target = 1e-4
    validation: ValidationPoints = 1000

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", checked_layers(self.layers))

    def load(self, generator: torch.Generator, data: str | None = None) -> TaskData:
        """Rows of residuals, and values of the solution; `generator` draws points of training and validation."""
        return residual_data(EQUATION, self.interior, self.boundary, self.weight, self.validation, generator)

    def model(self, generator: torch.Generator) -> nn.Module:
        """The network with its derivatives; outputs are weighted residuals."""
        return ResidualNetwork(EQUATION, self.layers, generator)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(u - u*)²/mean u*² per case."""
        return relative_error(EQUATION, outputs, targets)
