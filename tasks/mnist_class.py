"""MNIST digits as a classification task.

Network    784-100-50-10: dense, logistic units; the output is linear, the
           pre-activation z; initialised as in Martens (2010), section 5
Loss       softmax: -log softmax(z)_t of the digit t, convex in z
Error      1 if the largest z is not the digit's, else 0; its mean over the
           test cases is the error rate, 0.03 is 3 %
Target     0.04; Martens' method reaches it in about 700 passes
Source     LeCun, Bottou, Bengio and Haffner (1998), Proc. IEEE 86(11): 3.05 %
           for the dense network 784-300-100-10
Format     pictures as of the task mnist; labels likewise, one dimension
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from hfbench.errors import DataError
from hfbench.parts import DataFile, Split, TaskData, part
from hfbench.parts.data_files import read_file

from .classifier import CLASSES, Hidden, classifier_network, misclassified
from .common import CaseLimit, Decay, DecayMask, Target, Validation, checked_layers, split
from .mnist import SIDE, TEST, TRAIN, digit_pictures, mnist_file, parse_idx

TRAIN_LABELS = mnist_file(
    "train-labels-idx1-ubyte.gz", 8 + 60_000, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
)
TEST_LABELS = mnist_file(
    "t10k-labels-idx1-ubyte.gz", 8 + 10_000, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
)


def labels(content: bytes, name: str = "MNIST") -> Tensor:
    """Digits (cases,), int64, of an IDX file. Raises DataError if they have more dimensions or are no digits."""
    digits = parse_idx(content, name)
    if digits.dim() != 1:
        raise DataError(f"{name}: must hold a label per case, but has dimensions {tuple(digits.shape)}.")
    if (digits >= CLASSES).any():
        raise DataError(f"{name}: must hold labels 0 to 9, but some are others.")
    return digits.long()


def labelled(images: DataFile, digits: DataFile, data: str | None) -> Split:
    """Pictures and their digits. Raises DataError if they are not equally many."""
    inputs, targets = digit_pictures(read_file(images, data), images.path), labels(read_file(digits, data), digits.path)
    if len(inputs) != len(targets):
        raise DataError(f"{digits.path}: must hold {len(inputs)} labels, one per picture, but has {len(targets)}.")
    return Split(inputs, targets)


@final
@part
class MNISTClass:
    """MNIST digits, 28×28: classifier 784-100-50-10."""

    loss: ClassVar[str] = "softmax"
    files: ClassVar[tuple[DataFile, ...]] = (TRAIN, TRAIN_LABELS, TEST, TEST_LABELS)
    budget: ClassVar[Mapping[str, float]] = {"passes": 1500.0}

    layers: Hidden = (100, 50)
    decay: Decay = 1e-5
    decay_mask: DecayMask = "weights"
    target: Target = 0.04
    validation: Validation = 5000
    cases: CaseLimit = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", checked_layers(self.layers))

    def load(self, generator: torch.Generator, data: str | None = None) -> TaskData:
        """Pictures (cases × 784) in [0, 1] and digits; `generator` draws validation cases from the training file."""
        pool, test = labelled(TRAIN, TRAIN_LABELS, data), labelled(TEST, TEST_LABELS, data)
        return split(pool, test, self.validation, self.cases, generator)

    def model(self, generator: torch.Generator) -> nn.Module:
        """The sparsely initialised classifier; outputs are pre-activations."""
        return classifier_network(SIDE * SIDE, self.layers, generator)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """1 for a wrong digit, else 0, per case."""
        return misclassified(outputs, targets)
