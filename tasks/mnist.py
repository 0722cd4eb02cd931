"""MNIST: handwritten digits, 28×28, as an autoencoder task.

Network    784-1000-500-250-30 and back: dense, logistic units, but the code is
           linear and so is the output, the pre-activation z
Loss       logistic, of sigmoid(z) against the picture t, convex in z
Error      ‖sigmoid(z) - t‖², summed over pixels, mean over the test cases
Source     LeCun, Bottou, Bengio and Haffner (1998), Proc. IEEE 86(11);
           network of Hinton and Salakhutdinov (2006), Science 313,
           initialised as in Martens (2010), section 5
Format     IDX: two zero bytes, type (8: unsigned byte), number of dimensions,
           each as a big-endian 32-bit word, then the pixels; 60 000 cases to
           train on, 10 000 to test
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor, nn

from hfbench.errors import DataError
from hfbench.parts import DataFile, TaskData, part
from hfbench.parts.data_files import read_file

from .autoencoder import Layers, network, split_pictures, square_pictures, squared_error
from .common import CaseLimit, Decay, DecayMask, Target, Validation, checked_layers

SIDE = 28
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)


def mnist_file(name: str, size: int, sha256: str) -> DataFile:
    """The file of that name, size in bytes and checksum, both decompressed, with its mirrors."""
    return DataFile(f"mnist/{name}", sha256, tuple(mirror + name for mirror in MIRRORS), size=size)


TRAIN = mnist_file(
    "train-images-idx3-ubyte.gz",
    16 + 60_000 * SIDE**2,
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
)
TEST = mnist_file(
    "t10k-images-idx3-ubyte.gz",
    16 + 10_000 * SIDE**2,
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
)


def parse_idx(content: bytes, name: str = "IDX") -> Tensor:
    """The array of an IDX file of unsigned bytes, uint8, shaped as its header says.

    Raises DataError, which names the file, if the header is another one or the length contradicts it.
    """
    if len(content) < 4 or content[:3] != b"\x00\x00\x08" or content[3] == 0:
        raise DataError(
            f"{name}: must begin with 00 00 08 and its number of dimensions, but has {content[:4].hex(' ')}."
        )
    start = 4 + 4 * content[3]
    shape = tuple(int.from_bytes(content[offset : offset + 4], "big") for offset in range(4, start, 4))
    length = start + math.prod(shape)
    if len(content) != length:
        raise DataError(f"{name}: must be {length} bytes for dimensions {shape}, but is {len(content)}.")
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy())


def digit_pictures(content: bytes, name: str = "MNIST") -> Tensor:
    """Pictures as rows (cases × 784, float32, pixel/255) of an IDX file. Raises DataError if they are not 28×28."""
    pixels = parse_idx(content, name)
    if pixels.shape[1:] != (SIDE, SIDE):
        raise DataError(f"{name}: must hold pictures of 28×28 pixels, but has dimensions {tuple(pixels.shape)}.")
    return pixels.flatten(1).float().div_(255)


@final
@part
class MNIST:
    """MNIST digits, 28×28: autoencoder 784-1000-500-250-30."""

    loss: ClassVar[str] = "logistic"
    files: ClassVar[tuple[DataFile, ...]] = (TRAIN, TEST)
    budget: ClassVar[Mapping[str, float]] = {"passes": 2500.0}  # Martens' method takes 1012 to the target

    layers: Layers = (1000, 500, 250, 30)
    decay: Decay = 1e-5
    decay_mask: DecayMask = "weights"
    target: Target = 10.0
    validation: Validation = 5000
    cases: CaseLimit = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", checked_layers(self.layers))

    def load(self, generator: torch.Generator, data: str | None = None) -> TaskData:
        """Cases × 784 in [0, 1]; `generator` draws the validation cases from the training file."""
        images, test = (digit_pictures(read_file(file, data), file.path) for file in self.files)
        return split_pictures(images, test, self.validation, self.cases, generator)

    def model(self, generator: torch.Generator) -> nn.Module:
        """The sparsely initialised autoencoder; outputs are pre-activations."""
        return network(SIDE * SIDE, self.layers, generator)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """‖sigmoid(z) - t‖² per case."""
        return squared_error(outputs, targets)

    def pictures(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """sigmoid(z) and t as pictures."""
        return square_pictures(outputs, targets)
