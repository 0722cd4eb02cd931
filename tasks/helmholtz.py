"""Helmholtz' equation on a square, four half waves in one direction: a physics-informed network.

Equation   Δu + u = f in (-1, 1)²,  u = 0 on its boundary
Solution   u = sin(πx) sin(4πy), which gives f = (1 - 17π²) u
Network    2-32-32-1, tanh units; Glorot's normal weights, biases zero
Loss       ½ mean (Δu + u - f)² + ½ w mean u² at points of square and boundary
Error      ‖u - u*‖/‖u*‖ on a grid of 65 × 65 points; validation: at random
Source     Wang, Teng and Perdikaris (2021), "Understanding and mitigating
           gradient flow pathologies in physics-informed neural networks",
           section 2.4, where w = 1
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
    zero,
)
from .common import Decay, DecayMask, Target, checked_layers


def _solution(x: Tensor) -> Tensor:
    """u = sin(πx) sin(4πy)."""
    return torch.sin(math.pi * x[:, 0]) * torch.sin(4 * math.pi * x[:, 1])


def _operator(x: Tensor, u: Tensor, du: Tensor, ddu: Tensor) -> Tensor:
    """Δu + u - f."""
    return ddu + u - (1 - 17 * math.pi**2) * _solution(x)


EQUATION = Equation(
    low=(-1.0, -1.0),
    high=(1.0, 1.0),
    kappa=(1.0, 1.0),
    operator=_operator,
    condition=zero,
    solution=_solution,
    faces=((0, 0), (0, 1), (1, 0), (1, 1)),
)


@final
@part
class Helmholtz:
    """Helmholtz' equation on a square: residual network."""

    loss: ClassVar[str] = "least-squares"
    files: ClassVar[tuple[DataFile, ...]] = ()
    budget: ClassVar[Mapping[str, float]] = {"passes": 2000.0}
    error_is_root: ClassVar[bool] = True

    layers: Layers = (32, 32)
    interior: Interior = 900
    boundary: Boundary = 240
    weight: ConditionWeight = 100.0
    decay: Decay = 0.0
    decay_mask: DecayMask = "weights"
    target: Target = 1e-3
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
