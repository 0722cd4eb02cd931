"""What the autoencoder tasks share: network, sparse initialisation, error, split, and the settings they declare.

Network   pixels - layers - mirrored - pixels; dense, logistic units, but the code is linear and so is the output, the
          pre-activation z (the logistic loss is convex in z; sigmoid(z) is the picture)
Source    Hinton and Salakhutdinov (2006), Science 313; initialisation of Martens (2010), section 5

Functions to compose, no base class: a task is its own `@part` and calls them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import torch
from torch import Tensor, nn

from hfbench.errors import ConfigError
from hfbench.protocols import Split, TaskData
from hfbench.space import Choice, Log, Within

FAN_IN = 15  # incoming weights of a unit that start non-zero (Martens 2010, section 5)

Layers = Annotated[Sequence[int], "units of the encoder's layers after the pixels, the code last"]
Decay = Annotated[float, Log(1e-7, 1e-3), Within("[0, inf)"), "weight decay mu"]
DecayMask = Annotated[str, Choice("weights", "all", "none"), "which parameters decay (Martens' program: all)"]
Target = Annotated[float, Within("(0, inf)"), "test error at which a run has reached its goal"]
Validation = Annotated[int, Within("[1, inf)"), "cases set aside from the training file for validation"]
Cases = Annotated[int | None, Within("[1, inf)"), "use only so many training cases (all if not given)"]


def checked_layers(layers: Sequence[int]) -> tuple[int, ...]:
    """The layers as a tuple (TOML gives a list). Raises ConfigError unless they are positive whole numbers."""
    if not layers or any(isinstance(units, bool) or not isinstance(units, int) or units < 1 for units in layers):
        raise ConfigError(f"layers: must be one or more positive whole numbers, but got {layers!r}.")
    return tuple(layers)


def network(pixels: int, layers: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """The autoencoder pixels - layers - mirrored - pixels, freshly initialised: (cases × pixels) to z, likewise."""
    encoder = (pixels, *layers)
    modules: list[nn.Module] = []
    for fan_in, units in pairwise((*encoder, *encoder[-2::-1])):
        modules += [sparse_linear(fan_in, units, generator), nn.Sigmoid()]
    code, output = 2 * len(layers) - 1, len(modules) - 1
    return nn.Sequential(*(module for place, module in enumerate(modules) if place not in (code, output)))


def sparse_linear(fan_in: int, units: int, generator: torch.Generator) -> nn.Linear:
    """A dense layer: min(15, fan_in) incoming weights of each unit from N(0, 1), the others and the biases zero."""
    with torch.random.fork_rng(devices=[]):  # nn.Linear's own initialisation draws from the global generator
        layer = nn.Linear(fan_in, units, dtype=torch.float32)
    size = (units, fan_in)
    kept = min(FAN_IN, fan_in)
    chosen = torch.rand(size, generator=generator).topk(kept, dim=1).indices
    with torch.no_grad():
        layer.weight.zero_().scatter_(1, chosen, torch.randn(units, kept, generator=generator))
        layer.bias.zero_()
    return layer


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """‖sigmoid(z) - t‖² per case, summed over pixels: (cases × pixels) to (cases,)."""
    return (outputs.sigmoid() - targets).square().sum(dim=1)


def square_pictures(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """sigmoid(z) and t as square pictures: (cases × pixels) to (cases × side × side), twice."""
    side = math.isqrt(targets.shape[1])
    return outputs.sigmoid().reshape(-1, side, side), targets.reshape(-1, side, side)


def split(images: Tensor, test: Tensor, validation: int, cases: int | None, generator: torch.Generator) -> TaskData:
    """Training, validation and test cases, each its own target; `generator` shuffles the images of the training file.

    The first `validation` of the shuffled images validate, the next `cases` (all if None) train, so that smaller
    training sets are subsets of larger ones. Raises ConfigError if there are not so many.
    """
    left = len(images) - validation
    if left < 1:
        raise ConfigError(f"validation: must be less than the {len(images)} cases there are, but got {validation}.")
    if cases is not None and cases > left:
        raise ConfigError(f"cases: must be at most {left}, the training cases beside validation, but got {cases}.")
    order = torch.randperm(len(images), generator=generator)
    held_out, training = order[:validation], order[validation:][:cases]
    return TaskData(*(Split(part, part) for part in (images[training], images[held_out], test)))
