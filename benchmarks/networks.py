"""Networks of the usual pieces, beside those of the tasks: convolutions, pooling, attention, a recurrence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Network:
    """A network, the shape of a case, and the most cases that are worth a measurement."""

    make: Callable[[], nn.Module]
    inputs: tuple[int, ...]
    most: int
    loss: str = "logistic"


def strided() -> nn.Module:
    """Three convolutions of stride 2."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, 2, 1), nn.Tanh(), nn.Conv2d(16, 32, 3, 2, 1), nn.Tanh()),
        *(nn.Conv2d(32, 32, 3, 2, 1), nn.Tanh(), nn.Flatten(), nn.Linear(512, 10)),
    )


def average_pooled() -> nn.Module:
    """LeNet's layers, with average pooling."""
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(8, 16, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(784, 10)),
    )


def max_pooled() -> nn.Module:
    """Coloured pictures, rectified units, max pooling."""
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1024, 10)),
    )


class Residual(nn.Module):
    """A residual block with group normalisation."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.block = nn.Sequential(
            *(nn.GroupNorm(4, channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)),
            *(nn.GroupNorm(4, channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)),
        )
        self.head = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        z: Tensor = self.head((x + self.block(x)).mean((2, 3)))
        return z


class Attention(nn.Module):
    """Causal attention and a dense part, each after a layer normalisation and added to its inputs."""

    def __init__(self, width: int, heads: int, places: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.dense = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.register_buffer("mask", torch.full((places, places), float("-inf")).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.project(self.before(x)).chunk(3, -1)
        )
        weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + self.mask).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).flatten(2))
        z: Tensor = x + self.dense(self.between(x))
        return z


def transformer() -> nn.Module:
    """Two layers of width 64 on 32 places."""
    return nn.Sequential(
        *(nn.Linear(16, 64), Attention(64, 4, 32), Attention(64, 4, 32)),
        *(nn.Flatten(), nn.Linear(2048, 10)),
    )


class Gated(nn.Module):
    """A GRU whose last state is read out."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = nn.GRU(8, 64, batch_first=True), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.head(self.cells(x)[0][:, -1])
        return z


NETWORKS: Mapping[str, Network] = {
    "strided": Network(strided, (1, 28, 28), 1000),
    "average-pooled": Network(average_pooled, (1, 28, 28), 1000),
    "max-pooled": Network(max_pooled, (3, 32, 32), 500),
    "residual": Network(Residual, (3, 32, 32), 250),
    "transformer": Network(transformer, (32, 16), 250),
    "gru": Network(Gated, (20, 8), 250),
}
