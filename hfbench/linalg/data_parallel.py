"""Data parallelism: a batch's cases are divided among processes, and sums over cases are all-reduced.

Each rank of a `torch.distributed` process group has all of the weights and some of the cases of every batch, in the
order of the ranks. Solvers, preconditioners and rules are not aware of it: all ranks do the same arithmetic on the same
sums. All-reduced are:
    one vector shaped like the parameters   for a gradient, a product Jᵀu or G v, or second moments
    one number                              for an inner product in the residual space, whose output block is
                                            divided, for an objective, and for a variance
    a few numbers                           for each batch (number of cases) and step (agreement)
J v needs no communication: its rows belong to the cases.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from hfbench.errors import ConfigError
from hfbench.linalg.vector import Vector, residual_vector
from hfbench.messages import quoted

Made = TypeVar("Made")


class Ranks:
    """One process with all cases, without communication."""

    def total(self, number: float) -> float:
        """The sum of the ranks' numbers, in float64."""
        return number

    def sum(self, v: Vector) -> Vector:
        """The sum of the ranks' vectors."""
        return v

    def share(self, cases: int) -> Share:
        """Share of a batch of which this rank holds so many cases. All ranks must call it."""
        return Share(self, cases, cases, 0)

    def together(self, do: Callable[[], Made]) -> Made:
        """do(). If it raises on some ranks, all raise. All ranks must call it."""
        return do()

    def check_alike(self, what: Mapping[str, Any], mend: str) -> None:
        """Raises ConfigError on all ranks, with the first of `what` that differs. All ranks must call it."""


ALONE = Ranks()


class RankGroup(Ranks):
    """Ranks of a process group whose backend takes tensors on this device."""

    def __init__(self, group: Any, device: torch.device) -> None:
        self.group, self.device = group, device
        self.rank, self.size = distributed.get_rank(group), distributed.get_world_size(group)

    def total(self, number: float) -> float:
        return float(self._gathered([number], torch.float64).sum())  # added in the same order everywhere

    def sum(self, v: Vector) -> Vector:
        flat = torch.cat([block.reshape(-1) for block in v])
        distributed.all_reduce(flat, group=self.group)
        parts = torch.split(flat, [block.numel() for block in v])
        return Vector(part.view(block.shape) for part, block in zip(parts, v, strict=True))

    def share(self, cases: int) -> Share:
        each = self._gathered([cases], torch.int64).flatten().tolist()
        return Share(self, sum(each), cases, sum(each[: self.rank]))

    def together(self, do: Callable[[], Made]) -> Made:
        made, error = None, None
        try:
            made = do()
        except Exception as raised:
            error = raised
        if not self._gathered([error is not None], torch.int64).any():
            return made  # type: ignore[return-value]
        told: list[Any] = [None] * self.size
        distributed.all_gather_object(told, None if error is None else str(error), group=self.group)
        if error is not None:
            raise error
        rank, message = next((rank, said) for rank, said in enumerate(told) if said is not None)
        raise ConfigError(f"rank {rank} of {self.size} could not go on: {message}")

    def check_alike(self, what: Mapping[str, Any], mend: str) -> None:
        sums = [zlib.crc32(repr(value).encode()) for value in what.values()]
        found = self._gathered(sums, torch.int64)
        for name, column in zip(what, found.T.tolist(), strict=True):
            other = next((rank for rank, value in enumerate(column) if value != column[0]), None)
            if other is not None:
                raise ConfigError(
                    f"all ranks must have the same {name}, but rank {other} has another than rank 0: {mend}"
                )

    def _gathered(self, numbers: Sequence[float], dtype: torch.dtype) -> Tensor:
        """Every rank's numbers, a row for each rank."""
        own = torch.tensor(numbers, dtype=dtype, device=self.device)
        rows = [torch.empty_like(own) for _ in range(self.size)]
        distributed.all_gather(rows, own, group=self.group)
        return torch.stack(rows).cpu()


def ranks_of(group: Any, device: torch.device) -> Ranks:
    """`RankGroup` of a process group, `ALONE` for None. Raises ConfigError unless it is a group of this process."""
    if group is None:
        return ALONE
    if not (distributed.is_available() and distributed.is_initialized()):
        raise ConfigError(
            "process_group: needs torch.distributed.init_process_group() first, in a process that torchrun started."
        )
    if not isinstance(group, distributed.ProcessGroup) or distributed.get_rank(group) < 0:
        raise ConfigError(
            "process_group: must be a process group that this process belongs to, such as "
            f"torch.distributed.group.WORLD, but got {quoted(group)}."
        )
    if device.type == "cpu" and distributed.get_backend(group) == "nccl":
        raise ConfigError("process_group: backend nccl needs the model on a GPU; take gloo, or move the model first.")
    return RankGroup(group, device)


@dataclass(frozen=True)
class Share:
    """A rank's cases of one batch: `here` of all `n`, from `start` on."""

    ranks: Ranks
    n: int
    here: int
    start: int

    @property
    def whole(self) -> bool:
        return self.here == self.n

    def mean(self, mean: float) -> float:
        """The mean over all cases, from the mean over the rank's own."""
        return mean if self.whole else self.ranks.total(mean * self.here) / self.n

    def total(self, number: float) -> float:
        return number if self.whole else self.ranks.total(number)

    def sum(self, v: Vector) -> Vector:
        return v if self.whole else self.ranks.sum(v)

    def sum_(self, parts: Iterable[Tensor]) -> None:
        """The mean of tensors over all cases, in place."""
        if not self.whole:
            parts = list(parts)
            for part, summed in zip(parts, self.ranks.sum(Vector(parts)), strict=True):
                part.copy_(summed)

    def variance(self, numbers: Tensor) -> float:
        """The sample variance over all cases of one number per case."""
        if self.whole:
            return float(numbers.var(correction=1))
        mean = self.ranks.total(float(numbers.sum())) / self.n
        return self.ranks.total(float((numbers - mean).square().sum())) / (self.n - 1)

    def rows(self, whole: Tensor) -> Tensor:
        """The rank's rows of a tensor with a row for every case."""
        return whole if self.whole else whole[self.start : self.start + self.here]

    def residual(self, outputs: Tensor, blocks: Sequence[Tensor]) -> Vector:
        """A vector of the residual space: the output block of the rank's cases, then blocks like the parameters."""
        return residual_vector(outputs, blocks) if self.whole else SharedVector((outputs, *blocks), self.ranks)


class SharedVector(Vector):
    """A vector whose first block is divided among the ranks; the other blocks are the same on all."""

    ranks: Ranks

    def __new__(cls, blocks: Iterable[Tensor], ranks: Ranks) -> SharedVector:
        made = super().__new__(cls, blocks)
        made.ranks = ranks
        return made

    def like(self, blocks: Iterable[Tensor]) -> SharedVector:
        return SharedVector(blocks, self.ranks)

    def dots(self, other: Sequence[Tensor]) -> list[float]:
        """Σ self∘other of every block, over all ranks."""
        here, *same = super().dots(other)
        return [self.ranks.total(here), *same]

    def inner(self, other: Sequence[Tensor]) -> float:
        """Σ self∘other over all ranks, summed on the hosts."""
        return self.dot(other)
