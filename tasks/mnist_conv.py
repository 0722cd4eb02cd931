"""MNIST digits as a convolutional autoencoder task.

Network    28×28 - 8 maps of 14×14 - 16 maps of 7×7 - 24 - and back: 4×4
           convolutions of stride 2, mirrored by transposed ones, between them
           a dense code; tanh units, but the code is linear and so is the
           output, the pre-activation z
Loss       logistic, of sigmoid(z) against the picture t, convex in z
Error      ‖sigmoid(z) - t‖², summed over pixels, mean over the test cases
Target     10; a grey picture has 181, the mean digit 53. Martens' method
           reaches it in about 600 passes, with 2000 cases
Start      weights of every layer from N(0, 2/(fan-in + fan-out)), biases zero:
           the normalised initialisation of Glorot and Bengio (2010), AISTATS
           13, which keeps tanh units from saturating. The fans are the
           connections that a unit has, at stride 2: 4×4 per map on the finer
           side of a layer, 2×2 per map on the coarser one
Source     network after Masci, Meier, Cireşan and Schmidhuber (2011), ICANN,
           with strides instead of pooling; pictures as of the task mnist
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor, nn

from hfbench.errors import ConfigError
from hfbench.messages import quoted
from hfbench.parts import DataFile, Integers, TaskData, Within, part
from hfbench.parts.data_files import read_file

from .autoencoder import split_pictures, square_pictures, squared_error
from .common import Decay, DecayMask, Target, Validation, whole_numbers
from .mnist import SIDE, TEST, TRAIN, digit_pictures

KERNEL, STRIDE, PADDING = 4, 2, 1  # a multiple of the stride: a transposed convolution then covers its pixels evenly
MOST = 2  # halvings of 28 that leave a whole number


def convolutional_network(channels: Sequence[int], code: int, generator: torch.Generator) -> nn.Sequential:
    """The convolutional autoencoder, freshly initialised: (cases × 784) to z, likewise."""
    stages = list(pairwise((1, *channels)))
    side = SIDE // STRIDE ** len(channels)
    maps = (channels[-1], side, side)
    with torch.random.fork_rng(devices=[]):  # torch's own initialisation draws from the global generator
        encoder = [layer for a, b in stages for layer in (nn.Conv2d(a, b, KERNEL, STRIDE, PADDING), nn.Tanh())]
        decoder = [layer for a, b in stages for layer in (nn.ConvTranspose2d(b, a, KERNEL, STRIDE, PADDING), nn.Tanh())]
        to_code, from_code = nn.Linear(math.prod(maps), code), nn.Linear(code, math.prod(maps))
    model = nn.Sequential(
        *(nn.Unflatten(1, (1, SIDE, SIDE)), *encoder, nn.Flatten(), to_code),
        *(from_code, nn.Unflatten(1, maps), *decoder[::-1], nn.Flatten()),
    )
    for layer in model:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            normalised(layer, 1 if isinstance(layer, nn.Linear) else STRIDE, generator)
    return model


@torch.no_grad()
def normalised(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, stride: int, generator: torch.Generator) -> None:
    """Draws the weights from N(0, 2/(fan-in + fan-out)); biases zero.

    A layer and its transpose have the same two fans, and their weights are (coarse × fine [× window]) alike.
    """
    weight = layer.weight
    fans = weight[0].numel() + weight[:, 0].numel() / stride**2
    weight.normal_(0, math.sqrt(2 / fans), generator=generator)
    assert layer.bias is not None
    layer.bias.zero_()


@final
@part
class MNISTConv:
    """MNIST digits, 28×28: convolutional autoencoder."""

    loss: ClassVar[str] = "logistic"
    files: ClassVar[tuple[DataFile, ...]] = (TRAIN, TEST)
    budget: ClassVar[Mapping[str, float]] = {"passes": 1000.0}

    channels: Annotated[Sequence[int], "maps of the encoder's one or two convolutions"] = (8, 16)
    code: Annotated[int, Integers(8, 64, log=True), Within("[1, 100000]"), "units of the code"] = 24
    decay: Decay = 1e-5
    decay_mask: DecayMask = "weights"
    target: Target = 10.0
    validation: Validation = 1000
    cases: Annotated[int, Within("[1, inf)"), "training cases, out of 60 000 minus the validation cases"] = 4000

    def __post_init__(self) -> None:
        channels = whole_numbers("channels", self.channels)
        if len(channels) > MOST:
            raise ConfigError(f"channels: must be one or two, for 28 can be halved twice, but got {quoted(channels)}.")
        object.__setattr__(self, "channels", channels)

    def load(self, generator: torch.Generator, data: str | None = None) -> TaskData:
        """Cases × 784 in [0, 1]; `generator` draws the validation cases from the training file."""
        images, test = (digit_pictures(read_file(file, data), file.path) for file in self.files)
        return split_pictures(images, test, self.validation, self.cases, generator)

    def model(self, generator: torch.Generator) -> nn.Module:
        """The convolutional autoencoder; outputs are pre-activations."""
        return convolutional_network(self.channels, self.code, generator)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """‖sigmoid(z) - t‖² per case."""
        return squared_error(outputs, targets)

    def pictures(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """sigmoid(z) and t as pictures."""
        return square_pictures(outputs, targets)
