"""Tape: one pass of a batch through a model, kept for products; explicit for a dense chain, else an autograd graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from hfbench.curvature.autograd_tape import AutogradTape, CastGraph
from hfbench.curvature.chain_columns import Groups
from hfbench.curvature.chain_links import links_of
from hfbench.curvature.cuda_chain import ReplayedChain
from hfbench.curvature.dense_chain import Chain
from hfbench.curvature.layer_io import LayerIOSource
from hfbench.curvature.weights_by_name import Weights
from hfbench.linalg.vector import Vector


class Tape(Protocol):
    """Outputs z of some inputs, and products with J = dz/dw; vectors and u in the weights' dtype."""

    inputs: Tensor
    z: Tensor

    @property
    def mode(self) -> str:
        """Mode of J v: "chain", "transpose" or, with a forward pass in each product, "forward"."""

    @property
    def is_recorded(self) -> bool:
        """True if J v needs no further recording; the first one of a graph first records the transpose."""

    @property
    def capture(self) -> LayerIOSource:
        """Inputs and deltas of the layers."""

    def jvp(self, v: Vector) -> Tensor:
        """J v."""

    def vjp(self, u: Tensor) -> Vector:
        """Jᵀu."""

    def gradient(self, u: Tensor) -> Vector:
        """Jᵀu, whose sums over cases may be rounded to the pass's dtype."""

    def jvp_parts(self, V: Sequence[Vector], groups: Groups) -> Tensor:
        """J v of each part of k vectors: cases × parts × the shape of a case's outputs, those of the first group first.

        A part is a vector's blocks at the positions of a group, and zero elsewhere; each position is in one group.
        """

    def share_of_jvp(self, k: int, groups: Groups) -> float:
        """What `jvp_parts` costs, in single products J v."""

    def vjp_columns(self, U: Tensor) -> list[Vector]:
        """Jᵀu of each column of U, cases × columns × the shape of a case's outputs."""

    def first(self, cases: int) -> Tape | None:
        """The tape of the first so many cases, if it is part of this one; None if it is to be recorded anew."""

    def free(self) -> None:
        """Frees everything kept."""


def record_tape(model: nn.Module, inputs: Tensor, weights: Weights, dtype: torch.dtype | None = None) -> Tape:
    """Records the pass at these weights, in their dtype or in another for products.

    Raises ConfigError if the model fails.
    """
    if (links := links_of(model, inputs)) is not None:
        chain = ReplayedChain if inputs.device.type == "cuda" and torch.version.hip is None else Chain
        return chain(model, links, inputs, weights, dtype)
    return AutogradTape(model, inputs, weights) if dtype is None else CastGraph(model, inputs, weights, dtype)
