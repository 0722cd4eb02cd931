"""USPS: scanned digits of envelopes, 16×16, as an autoencoder task.

Network    256-400-200-100-50-25 and back: dense, logistic units, but the
           code is linear and so is the output, the pre-activation z
Loss       logistic, of sigmoid(z) against the picture t, convex in z
Error      ‖sigmoid(z) - t‖², summed over pixels, mean over the test cases
Source     LeCun et al. (1990), NIPS 2; files of Hastie, Tibshirani and
           Friedman, "The Elements of Statistical Learning"; initialised as in
           Martens (2010), section 5
Format     text, one case a row: label, then 256 grey values in [-1, 1];
           7291 cases to train on, 2007 to test
"""

from __future__ import annotations

import io
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

PIXELS = 256
MIRRORS = (
    "https://hastie.su.domains/ElemStatLearn/datasets/",
    "https://web.stanford.edu/~hastie/ElemStatLearn/datasets/",
)


def _file(name: str, size: int, sha256: str) -> DataFile:
    return DataFile(f"usps/{name}", sha256, tuple(mirror + name for mirror in MIRRORS), size=size)


TRAIN = _file("zip.train.gz", 14_504_962, "fe0995bb03cea1994752e58c13dc873b734ae8c34d073d55db45477598b2aabc")
TEST = _file("zip.test.gz", 3_986_103, "a48ccdba0c641995485853441e09eadd2305ffc39230cd16f6cf50a640fe87d8")


def parse(text: bytes, name: str = "USPS") -> tuple[Tensor, Tensor]:
    """Pictures (cases × 256, float32, scaled from [-1, 1] to [0, 1]) and labels (cases,) of a file in the text format.

    Raises DataError, which names the file, if the text is not rows of 257 numbers or a number is out of range.
    """
    if not text.strip():
        raise DataError(f"{name}: must hold rows of 257 numbers, but is empty.")
    try:
        rows = np.loadtxt(io.BytesIO(text), comments=None, ndmin=2)
    except ValueError as error:
        raise DataError(f"{name}: must hold rows of 257 numbers, but {error}.") from error
    if rows.shape[1] != PIXELS + 1:
        raise DataError(f"{name}: must hold rows of 257 numbers, but they have {rows.shape[1]}.")
    if not (np.isin(rows[:, 0], range(10)).all() and (np.abs(rows[:, 1:]) <= 1).all()):
        raise DataError(f"{name}: must hold labels 0 to 9 and grey values in [-1, 1], but some are others.")
    pictures = torch.from_numpy((rows[:, 1:] + 1) / 2).float()
    return pictures, torch.from_numpy(rows[:, 0]).long()


@final
@part
class USPS:
    """USPS digits, 16×16: autoencoder 256-400-200-100-50-25."""

    loss: ClassVar[str] = "logistic"
    files: ClassVar[tuple[DataFile, ...]] = (TRAIN, TEST)
    budget: ClassVar[Mapping[str, float]] = {"passes": 3000.0}  # Martens' method takes 1792 to the target

    layers: Layers = (400, 200, 100, 50, 25)
    decay: Decay = 1e-5
    decay_mask: DecayMask = "weights"
    target: Target = 13.0
    validation: Validation = 791  # leaves 6500: quarters and twentieths are whole numbers
    cases: CaseLimit = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", checked_layers(self.layers))

    def load(self, generator: torch.Generator, data: str | None = None) -> TaskData:
        """Cases × 256 in [0, 1]; `generator` draws the validation cases from the training file."""
        images, test = (parse(read_file(file, data), file.path)[0] for file in self.files)
        return split_pictures(images, test, self.validation, self.cases, generator)

    def model(self, generator: torch.Generator) -> nn.Module:
        """The sparsely initialised autoencoder; outputs are pre-activations."""
        return network(PIXELS, self.layers, generator)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """‖sigmoid(z) - t‖² per case."""
        return squared_error(outputs, targets)

    def pictures(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """sigmoid(z) and t as pictures."""
        return square_pictures(outputs, targets)
