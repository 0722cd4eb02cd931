"""Optical digits, 8×8, as a classification task: real data without a download.

Network    64-50-10: dense, logistic units; the output is linear, the
           pre-activation z; initialised as in Martens (2010), section 5
Loss       softmax: -log softmax(z)_t of the digit t, convex in z
Error      1 if the largest z is not the digit's, else 0; its mean over the
           test cases is the error rate, 0.06 is 6 %
Target     0.05; Martens' method reaches it in 380 to 500 passes
Source     Alpaydin and Kaynak (1998), of which scikit-learn ships 1797
           pictures; the last 360 are to test
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from hfbench.parts import DataFile, Split, TaskData, part

from .classifier import Hidden, classifier_network, misclassified
from .common import CaseLimit, Decay, DecayMask, Target, Validation, checked_layers, split
from .digits_data import PIXELS, TEST, optical_digits


@final
@part
class DigitsClass:
    """Optical digits, 8×8: classifier 64-50-10."""

    loss: ClassVar[str] = "softmax"
    files: ClassVar[tuple[DataFile, ...]] = ()
    budget: ClassVar[Mapping[str, float]] = {"passes": 1500.0}

    layers: Hidden = (50,)
    decay: Decay = 1e-4
    decay_mask: DecayMask = "weights"
    target: Target = 0.05
    validation: Validation = 237
    cases: CaseLimit = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", checked_layers(self.layers))

    def load(self, generator: torch.Generator, data: str | None = None) -> TaskData:
        """Pictures (cases × 64) in [0, 1] and digits; `generator` draws the validation cases."""
        pictures, labels = optical_digits()
        pool, test = Split(pictures[:-TEST], labels[:-TEST]), Split(pictures[-TEST:], labels[-TEST:])
        return split(pool, test, self.validation, self.cases, generator)

    def model(self, generator: torch.Generator) -> nn.Module:
        """The sparsely initialised classifier; outputs are pre-activations."""
        return classifier_network(PIXELS, self.layers, generator)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """1 for a wrong digit, else 0, per case."""
        return misclassified(outputs, targets)
