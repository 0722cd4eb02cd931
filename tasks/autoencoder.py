"""Autoencoders of the image tasks: network, error, pictures and split.

Network   pixels - layers - mirrored - pixels; dense, logistic units, but the code is linear and so is the output, the
          pre-activation z (the logistic loss is convex in z; sigmoid(z) is the picture)
Source    Hinton and Salakhutdinov (2006), Science 313; initialisation of Martens (2010), section 5

Tasks compose these functions instead of inheriting: a task is its own `@part` and calls them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import torch
from torch import Tensor, nn

from hfbench.parts import Split, TaskData

from .common import drawn, sparse_linear

Layers = Annotated[Sequence[int], "units of the encoder's layers after the pixels, the code last"]


def network(pixels: int, layers: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """The autoencoder pixels - layers - mirrored - pixels, freshly initialised: (cases × pixels) to z, likewise."""
    encoder = (pixels, *layers)
    modules: list[nn.Module] = []
    for fan_in, units in pairwise((*encoder, *encoder[-2::-1])):
        modules += [sparse_linear(fan_in, units, generator), nn.Sigmoid()]
    code, output = 2 * len(layers) - 1, len(modules) - 1
    return nn.Sequential(*(module for index, module in enumerate(modules) if index not in (code, output)))


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """‖sigmoid(z) - t‖² per case, summed over pixels: (cases × pixels) to (cases,)."""
    return (outputs.sigmoid() - targets).square().sum(dim=1)


def square_pictures(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """sigmoid(z) and t as square pictures: (cases × pixels) to (cases × side × side), twice."""
    side = math.isqrt(targets.shape[1])
    return outputs.sigmoid().reshape(-1, side, side), targets.reshape(-1, side, side)


def split_pictures(
    images: Tensor, test: Tensor, validation: int, cases: int | None, generator: torch.Generator
) -> TaskData:
    """Training, validation and test cases, with targets equal to inputs; `generator` draws from the training file.

    Raises ConfigError as `common.drawn` does.
    """
    training, held_out = drawn(len(images), validation, cases, generator)
    return TaskData(*(Split(part, part) for part in (images[training], images[held_out], test)))
