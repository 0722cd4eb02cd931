"""Outputs that a report shows: pictures of some cases, or a field over all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor


@dataclass(frozen=True)
class Field:
    """A function on the points of a grid in a rectangle, as learned and as it is: (height × width), rows upward."""

    prediction: Tensor
    solution: Tensor
    axes: tuple[str, str]  # names of the coordinates, across and up
    extent: tuple[float, float, float, float]  # left, right, bottom, top


@runtime_checkable
class HasField(Protocol):
    """A task whose test cases are the points of a grid; a report shows what was learned there and its error."""

    def field(self, outputs: Tensor, targets: Tensor) -> Field | None:
        """The outputs of all test cases and their targets as a function on the grid; None if it is not of two axes."""


@runtime_checkable
class HasPictures(Protocol):
    """A task whose outputs are images; a report shows some of them next to their targets."""

    def pictures(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Images of outputs and of targets (cases × …): two tensors (cases × height × width), usually in [0, 1]."""
