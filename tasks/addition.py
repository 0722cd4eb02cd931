"""Addition: the sum of two marked numbers in a long sequence, a recurrent task.

Sequence   T steps of (number, marker): numbers uniform in [0, 1), markers zero
           but 1 at two steps, the first of these uniform among the first T/10,
           the second among those from T/10 to T/2
Network    h_t = tanh(W_hx x_t + W_hh h_{t-1} + b_h), z = W_yh h_T + b_y; one
           output after the last step
Loss       ½(z - t)², t the sum of the two numbers at the marks
Error      (z - t)², mean over the test cases. The constant answer 1, the mean,
           has error 1/6
Target     0.0016, an error of 0.04, the tolerance of Hochreiter and
           Schmidhuber; Martens' method reaches it in 3000 to 5000 passes
Start      15 incoming weights per unit from N(0, 1/15) in W_hh and W_yh, both
           in W_hx from N(0, 1/240); h_0, trained as well, from N(0, 1/15);
           biases zero
Source     Hochreiter and Schmidhuber (1997), Neural Computation 9(8), section
           5.4; as in Martens and Sutskever (2011), ICML, section 4, and the
           program that they released. There T varies by a tenth, and a marker
           of -1 announces beginning and end
Data       our own 12 000 sequences to draw from and 2000 to test on, the same
           everywhere and for every seed of a run
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, ClassVar, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from hfbench.parts import DataFile, Integers, Split, TaskData, Within, part

from .common import FAN_IN, Decay, DecayMask, Target, Validation, sparse_normal, split
from .portable_random import Floats, uniform

SEED = 97083011  # of the sequences, not of a run
POOL, TEST = 12_000, 2000


def marks(where: Floats, length: int) -> npt.NDArray[np.int64]:
    """The marked steps, counted from 0, from numbers in [0, 1): (cases × 2) to (cases × 2)."""
    first, half = length // 10, length // 2
    start, span = np.array([0, first]), np.array([first, half - first])
    return np.asarray(start + np.floor(where * span), dtype=np.int64)


@cache
def sequences(length: int, count: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """`count` sequences (count × length × 2) and their sums (count × 1); drawn once per process and read-only."""
    drawn = uniform(count * (length + 2), SEED).reshape(count, length + 2)
    inputs = np.zeros((count, length, 2), dtype=np.float32)
    inputs[:, :, 0] = drawn[:, 2:]
    chosen = marks(drawn[:, :2], length)
    np.put_along_axis(inputs[:, :, 1], chosen, 1.0, axis=1)
    sums = np.take_along_axis(inputs[:, :, 0], chosen, axis=1).sum(axis=1, keepdims=True)
    for array in (inputs, sums):
        array.setflags(write=False)
    return inputs, sums


class Recurrent(nn.Module):
    """h_t = tanh(W_hx x_t + W_hh h_{t-1} + b_h), z = W_yh h_T + b_y: (cases × T × 2) to (cases × 1).

    A loop of plain operations, not a fused kernel, so that second derivatives and per-case gradients exist.
    """

    def __init__(self, units: int, generator: torch.Generator) -> None:
        super().__init__()
        scale = FAN_IN**-0.5
        self.W_hx = nn.Parameter(0.25 * scale * torch.randn(units, 2, generator=generator))
        self.W_hh = nn.Parameter(scale * sparse_normal(units, units, generator))
        self.W_yh = nn.Parameter(scale * sparse_normal(1, units, generator))
        self.h_0 = nn.Parameter(scale * torch.randn(units, generator=generator))
        self.b_h = nn.Parameter(torch.zeros(units))
        self.b_y = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Tensor) -> Tensor:
        """z."""
        h = self.h_0.expand(len(inputs), -1)
        for x in functional.linear(inputs, self.W_hx, self.b_h).unbind(1):
            h = torch.tanh(x + functional.linear(h, self.W_hh))
        return functional.linear(h, self.W_yh, self.b_y)


@final
@part
class Addition:
    """Sum of two marked numbers of a sequence: recurrent net."""

    loss: ClassVar[str] = "least-squares"
    files: ClassVar[tuple[DataFile, ...]] = ()
    budget: ClassVar[Mapping[str, float]] = {"passes": 10_000.0}

    length: Annotated[int, Integers(20, 200, log=True), Within("[10, 10000]"), "steps of a sequence, T"] = 30
    units: Annotated[int, Integers(20, 200, log=True), Within("[1, 100000]"), "recurrent units"] = 30
    decay: Decay = 2e-5  # of the authors' program
    decay_mask: DecayMask = "weights"
    target: Target = 0.0016
    validation: Validation = 500
    cases: Annotated[int, Within("[1, inf)"), "training cases, out of 12 000 minus the validation cases"] = 2000

    def load(self, generator: torch.Generator, data: str | None = None) -> TaskData:
        """Sequences (cases × T × 2) and sums (cases × 1); `generator` draws validation and training cases."""
        inputs, sums = (torch.tensor(array) for array in sequences(self.length, POOL + TEST))
        pool, test = Split(inputs[:POOL], sums[:POOL]), Split(inputs[POOL:], sums[POOL:])
        return split(pool, test, self.validation, self.cases, generator)

    def model(self, generator: torch.Generator) -> nn.Module:
        """The sparsely initialised recurrent net."""
        return Recurrent(self.units, generator)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(z - t)² per case."""
        return (outputs - targets).square().sum(dim=1)
