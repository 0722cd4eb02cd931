"""Layers whose first dimension is as long as the batch and holds something else, or cases in another order."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

CASES = 4

Reshaped = Callable[[Tensor], Tensor]


class Rearranged(nn.Module):
    """Rearranges a batch for its layer, and the layer's outputs back to cases first."""

    def __init__(self, layer: nn.Module, there: Reshaped, back: Reshaped) -> None:
        super().__init__()
        self.layer, self.there, self.back = layer, there, back

    def forward(self, x: Tensor) -> Tensor:
        z = torch.tanh(self.back(self.layer(self.there(x))))
        return z.flatten(1)


class OnTable(nn.Module):
    """A layer that sees a table of four rows, the same for every case."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("table", torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.layer(self.table))


class PositiveRows(nn.Module):
    """A layer that sees the rows with a positive first entry: of some cases two, of others one or none."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        chosen = x[..., 0] > 0
        return torch.zeros(*x.shape[:2], 2, dtype=x.dtype).masked_scatter(
            chosen[..., None].expand(*x.shape[:2], 2), torch.tanh(self.layer(x[chosen]))
        )


def places_first(layer: nn.Module, order: tuple[int, ...]) -> nn.Module:
    """Permutes the dimensions; the order is its own inverse."""
    return Rearranged(layer, lambda x: x.permute(order), lambda z: z.permute(order))


def folded(layer: nn.Module) -> nn.Module:
    """n × C × T × L to T × C × (n·L): the cases are inside of the last dimension."""

    def there(x: Tensor) -> Tensor:
        return x.permute(2, 1, 0, 3).flatten(2)

    def back(z: Tensor) -> Tensor:
        return z.unflatten(2, (-1, 3)).permute(2, 1, 0, 3)

    return Rearranged(layer, there, back)


def folded_rows() -> nn.Module:
    """n × L × T × F to T × (n·L) × F."""

    def there(x: Tensor) -> Tensor:
        return x.permute(2, 0, 1, 3).flatten(1, 2)

    def back(z: Tensor) -> Tensor:
        return z.unflatten(1, (-1, 3)).permute(1, 2, 0, 3)

    return Rearranged(nn.Linear(2, 3), there, back)


def mixed(layer: nn.Module) -> nn.Module:
    """n × T × … read with the places first, and cut into n again: each row holds places of several cases."""
    channels_second = (0, 2, 1, 3) if isinstance(layer, nn.Conv2d) else (0, 1, 2)

    def there(x: Tensor) -> Tensor:
        return x.transpose(0, 1).reshape(x.shape).permute(channels_second)

    def back(z: Tensor) -> Tensor:
        z = z.permute(channels_second)
        return z.reshape(z.shape[1], z.shape[0], *z.shape[2:]).transpose(0, 1)

    return Rearranged(layer, there, back)


def places_in_batch(layer: nn.Module) -> nn.Module:
    """n × T × … to (T·n) × …, the places first."""
    return Rearranged(
        layer, lambda x: x.transpose(0, 1).flatten(0, 1), lambda z: z.unflatten(0, (3, -1)).transpose(0, 1)
    )


def one_by_one() -> nn.Module:
    """A dense layer that gets a lone case without its dimension, and several as they are."""
    return Rearranged(
        nn.Linear(3, 2),
        lambda x: x[0] if len(x) == 1 else x,
        lambda z: z[None] if z.dim() == 1 else z,
    )


# name: (makes the model, shape of a case)
MISPLACED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv1d-places-first": (lambda: places_first(nn.Conv1d(2, 3, 1), (2, 1, 0)), (2, 4)),
    "conv2d-places-first": (lambda: places_first(nn.Conv2d(2, 3, (1, 2)), (2, 1, 0, 3)), (2, 4, 3)),
    "conv3d-places-first": (lambda: places_first(nn.Conv3d(2, 3, (1, 2, 2)), (2, 1, 0, 3, 4)), (2, 4, 3, 2)),
    "conv2d-groups-places-first": (lambda: places_first(nn.Conv2d(2, 4, (1, 2), groups=2), (2, 1, 0, 3)), (2, 4, 3)),
    "transposed-1d-places-first": (lambda: places_first(nn.ConvTranspose1d(2, 3, 1), (2, 1, 0)), (2, 4)),
    "transposed-2d-places-first": (lambda: places_first(nn.ConvTranspose2d(2, 3, (1, 2)), (2, 1, 0, 3)), (2, 4, 3)),
    "transposed-3d-places-first": (
        lambda: places_first(nn.ConvTranspose3d(2, 3, (1, 2, 2)), (2, 1, 0, 3, 4)),
        (2, 4, 3, 2),
    ),
    "dense-places-first": (lambda: places_first(nn.Linear(2, 3), (1, 0, 2)), (4, 2)),
    "conv1d-cases-among-places": (lambda: folded(nn.Conv1d(2, 3, 1)), (2, 4, 3)),
    "transposed-cases-among-places": (lambda: folded(nn.ConvTranspose1d(2, 3, 1)), (2, 4, 3)),
    "dense-cases-among-places": (folded_rows, (3, 4, 2)),
    "dense-mixed": (lambda: mixed(nn.Linear(2, 3)), (3, 2)),
    "conv2d-mixed": (lambda: mixed(nn.Conv2d(2, 3, (1, 2))), (3, 2, 4)),
    "places-in-batch-dense": (lambda: places_in_batch(nn.Linear(2, 3)), (3, 2)),
    "places-in-batch-conv2d": (lambda: places_in_batch(nn.Conv2d(2, 2, 2)), (3, 2, 3, 3)),
    "reversed": (lambda: Rearranged(nn.Conv1d(2, 3, 2), lambda x: x.flip(0), lambda z: z.flip(0)), (2, 4)),
    "table": (OnTable, (4,)),
    "chosen-rows": (PositiveRows, (2, 3)),
    "lone-case": (one_by_one, (3,)),
}


def batch_of(name: str, cases: int = CASES) -> tuple[nn.Module, Tensor]:
    """A model with weights of its own, and a batch of as many cases as it has places."""
    make, shape = MISPLACED[name]
    model, generator = make().double(), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.5 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    x = torch.randn(cases, *shape, generator=generator, dtype=torch.float64)
    if name == "chosen-rows":  # two of the first case, one of the second and third, none of the fourth
        x[..., 0] = torch.tensor([[1, 1], [1, -1], [1, -1], [-1, -1]][:cases], dtype=x.dtype)
    return model, x
