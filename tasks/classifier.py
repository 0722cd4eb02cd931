"""Classifiers of the digit tasks: network and error.

Network   pixels - layers - classes; dense, logistic units, a linear output, the pre-activation z of a softmax
Source    sparse initialisation of Martens (2010), section 5
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import torch
from torch import Tensor, nn

from .common import sparse_linear

CLASSES = 10

Hidden = Annotated[Sequence[int], "units of the hidden layers"]


def classifier_network(pixels: int, layers: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """The classifier pixels - layers - 10, freshly initialised: (cases × pixels) to z, (cases × 10)."""
    hidden = [
        module
        for fan_in, units in pairwise((pixels, *layers))
        for module in (sparse_linear(fan_in, units, generator), nn.Sigmoid())
    ]
    return nn.Sequential(*hidden, sparse_linear(layers[-1], CLASSES, generator))


def misclassified(outputs: Tensor, targets: Tensor) -> Tensor:
    """1 if the largest output is not the case's class, else 0: (cases × classes), (cases,) to (cases,)."""
    return (outputs.argmax(dim=1) != targets).to(outputs.dtype)
