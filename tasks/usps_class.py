"""USPS digits as a classification task.

Network    256-100-50-10: dense, logistic units; the output is linear, the
           pre-activation z; initialised as in Martens (2010), section 5
Loss       softmax: -log softmax(z)_t of the digit t, convex in z
Error      1 if the largest z is not the digit's, else 0; its mean over the
           test cases is the error rate, 0.06 is 6 %
Target     0.07, close to the best of this network; Martens' method reaches it
           in 700 to 1000 passes
Source     LeCun et al. (1990), NIPS 2; files as of the task usps. The test
           digits are harder than those to train on: people err on 2.5 % of
           them (Bromley and Säckinger 1991)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from hfbench.parts import DataFile, Split, TaskData, part
from hfbench.parts.data_files import read_file

from .classifier import Hidden, classifier_network, misclassified
from .common import CaseLimit, Decay, DecayMask, Target, Validation, checked_layers, split
from .usps import PIXELS, TEST, TRAIN, parse


@final
@part
class USPSClass:
    """USPS digits, 16×16: classifier 256-100-50-10."""

    loss: ClassVar[str] = "softmax"
    files: ClassVar[tuple[DataFile, ...]] = (TRAIN, TEST)
    budget: ClassVar[Mapping[str, float]] = {"passes": 4000.0}

    layers: Hidden = (100, 50)
    decay: Decay = 1e-5
    decay_mask: DecayMask = "weights"
    target: Target = 0.07
    validation: Validation = 791  # leaves 6500: quarters and twentieths are whole numbers
    cases: CaseLimit = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", checked_layers(self.layers))

    def load(self, generator: torch.Generator, data: str | None = None) -> TaskData:
        """Pictures (cases × 256) in [0, 1] and digits; `generator` draws validation cases from the training file."""
        pool, test = (Split(*parse(read_file(file, data), file.path)) for file in self.files)
        return split(pool, test, self.validation, self.cases, generator)

    def model(self, generator: torch.Generator) -> nn.Module:
        """The sparsely initialised classifier; outputs are pre-activations."""
        return classifier_network(PIXELS, self.layers, generator)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """1 for a wrong digit, else 0, per case."""
        return misclassified(outputs, targets)
