"""Optical digits, 8×8, as an autoencoder task: real pictures without a download.

Network    64-50-30-10 and back: dense, logistic units, but the code is linear
           and so is the output, the pre-activation z
Loss       logistic, of sigmoid(z) against the picture t, convex in z
Error      ‖sigmoid(z) - t‖², summed over pixels, mean over the test cases; to
           answer the mean picture has 4.7
Target     1.3; Martens' method reaches it in 760 to 1080 passes
Source     Alpaydin and Kaynak (1998), of which scikit-learn ships 1797
           pictures; initialised as in Martens (2010), section 5
Split      1200 cases to train on, 237 for validation, the last 360 to test
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from hfbench.parts import DataFile, TaskData, part

from .autoencoder import Layers, network, split_pictures, square_pictures, squared_error
from .common import CaseLimit, Decay, DecayMask, Target, Validation, checked_layers
from .digits_data import PIXELS, TEST, optical_digits


@final
@part
class Digits:
    """Optical digits, 8×8: autoencoder 64-50-30-10."""

    loss: ClassVar[str] = "logistic"
    files: ClassVar[tuple[DataFile, ...]] = ()
    budget: ClassVar[Mapping[str, float]] = {"passes": 2000.0}

    layers: Layers = (50, 30, 10)
    decay: Decay = 1e-5
    decay_mask: DecayMask = "weights"
    target: Target = 1.3
    validation: Validation = 237
    cases: CaseLimit = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", checked_layers(self.layers))

    def load(self, generator: torch.Generator, data: str | None = None) -> TaskData:
        """Cases × 64 in [0, 1]; `generator` draws the validation cases."""
        pictures, _ = optical_digits()
        return split_pictures(pictures[:-TEST], pictures[-TEST:], self.validation, self.cases, generator)

    def model(self, generator: torch.Generator) -> nn.Module:
        """The sparsely initialised autoencoder; outputs are pre-activations."""
        return network(PIXELS, self.layers, generator)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """‖sigmoid(z) - t‖² per case."""
        return squared_error(outputs, targets)

    def pictures(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """sigmoid(z) and t as pictures."""
        return square_pictures(outputs, targets)
