"""Vector: an ordered tuple of tensor blocks shaped like the parameters.

The residual space of the least-squares form uses the same class with one block more (outputs, then parameters).
Arithmetic runs on `torch._foreach_*`, one fused call for all blocks. On a CPU the blocks may be views of one tensor, in
which they lie side by side (`empty_vector`): two such vectors are added and multiplied in one pass over their memory,
which for small blocks takes half the time or less. Methods ending in `_` work in place. Scalars may be numbers on a GPU
(`hfbench.linalg.scalars`), which `inner` returns there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._utils import _unflatten_dense_tensors

from hfbench.errors import ConfigError
from hfbench.linalg.scalars import Number, is_on_gpu
from hfbench.setting_checks import has_entries

Scalars = Number | Sequence[float]  # one number for all blocks, or one per block
Blocks = tuple[Tensor, ...] | list[Tensor]

PIECE = 2**16  # entries added up at a time
FEW = 2**12  # and of those that are converted to float64 before
SHOWN = 20  # blocks of a vector that a message describes


class Vector(tuple[Tensor, ...]):
    """An immutable tuple of blocks; the blocks themselves change only under methods ending in `_`."""

    _parts: tuple[Tensor, ...] | None = None  # fewer tensors that hold the blocks; None: the blocks are all there is

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """The tensors that hold the entries in order, each a block or several blocks side by side."""
        return self if self._parts is None else self._parts

    def like(self, blocks: Iterable[Tensor]) -> Vector:
        """A vector of the same space."""
        return Vector(blocks)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies have the blocks alone, since a copy of a view need not be one."""
        return Vector, (tuple(self),)

    def _made(self, operation: Callable[..., Sequence[Tensor]], *others: Any) -> Vector:
        """The vector that the operation makes of the parts, or of the blocks if another vector is divided otherwise."""
        if not self._is_divided_like(*others):
            return self.like(operation(self, *others))
        return self.with_parts(operation(self.parts, *(other.parts for other in others)))

    def _is_divided_like(self, *others: Any) -> bool:
        """Whether some blocks lie side by side, and in the other vectors the same ones."""
        if self._parts is None:
            return False
        return all(isinstance(other, Vector) and len(other.parts) == len(self._parts) for other in others)

    def _operands(self, other: Sequence[Tensor]) -> tuple[Blocks, Blocks]:
        """Tensors of both that belong together: parts, or blocks."""
        if isinstance(other, Vector) and self._is_divided_like(other):
            return self.parts, other.parts
        return self, other if isinstance(other, tuple | list) else list(other)

    def with_parts(self, parts: Sequence[Tensor]) -> Vector:
        """A vector of the same space with these parts, divided into blocks like this one."""
        if self._parts is None:
            return self.like(parts)
        *first, last = parts  # the last one is several blocks
        made = self.like((*first, *_views(last, self[len(first) :])))
        made._parts = tuple(parts)
        return made

    def _by_block(self, operation: Callable[..., Any], *others: Sequence[Any]) -> Vector:
        """The vector whose blocks the operation writes, with a number per block."""
        made = self.with_parts([torch.empty_like(part) for part in self.parts])
        for into, *given in zip(made, self, *others, strict=True):
            operation(*given, out=into)
        return made

    # Tuples concatenate and repeat under + and *; vectors add and scale.
    def __add__(self, other: Any) -> Vector:
        return self._made(torch._foreach_add, other)

    def __sub__(self, other: Any) -> Vector:
        return self._made(torch._foreach_sub, other)

    def __mul__(self, other: Any) -> Vector:
        """Scaled by a number, by one number per block, or entry by entry by another vector."""
        if isinstance(other, float | int):
            return self._made(lambda parts: torch._foreach_mul(parts, other))
        if self._parts is not None and isinstance(other, tuple | list) and not isinstance(other, Vector):
            return self._by_block(torch.mul, other)
        return self._made(torch._foreach_mul, _scalars(other))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Vector:
        return self._made(torch._foreach_div, _scalars(other))

    def __neg__(self) -> Vector:
        return self._made(torch._foreach_neg)

    def __pow__(self, exponent: float) -> Vector:
        return self._made(lambda parts: torch._foreach_pow(parts, exponent))

    def add(self, other: Blocks, alpha: Number | Shift) -> Vector:
        """self + alpha·other in one pass, alpha a number, one number per block, or a vector taken entry by entry."""
        if isinstance(alpha, Tensor):
            return self.like(torch._foreach_addcmul(self, other, self._each(alpha)))
        if isinstance(alpha, Vector):
            return self._made(torch._foreach_addcmul, other, alpha)
        if isinstance(alpha, float | int):
            scale = self._rounded(alpha)
            return self._made(lambda mine, theirs: torch._foreach_add(mine, theirs, alpha=scale), other)
        return self._by_block(lambda a, b, scale, out: torch.add(a, b, alpha=scale, out=out), other, alpha)

    def plus(self, other: Blocks, alpha: Shift) -> Vector:
        """`add` that may overwrite self, and does where no two blocks of self can share memory."""
        if self._parts is None or isinstance(alpha, Vector):
            return self.add(other, alpha)
        for mine, theirs, scale in zip(self, other, alpha, strict=True):
            mine.add_(theirs, alpha=scale)
        return self

    def add_(self, other: Blocks, alpha: Number = 1.0) -> Vector:
        """self ← self + alpha·other."""
        if isinstance(alpha, Tensor):
            torch._foreach_addcmul_(self, other, self._each(alpha))
        else:
            mine, theirs = self._operands(other)
            torch._foreach_add_(mine, theirs, alpha=self._rounded(alpha))
        return self

    def scale_add_(self, beta: float, other: Blocks) -> Vector:
        """self ← beta·self + other, in one pass instead of two."""
        beta = self._rounded(beta)
        for mine, theirs in zip(*self._operands(other), strict=True):
            torch.add(theirs, mine, alpha=beta, out=mine)
        return self

    def _rounded(self, number: float) -> float:
        """The number, or by IEEE 754 an infinity if it exceeds the blocks' dtype, where PyTorch raises RuntimeError."""
        exceeds = abs(number) > torch.finfo(self[0].dtype).max
        return math.copysign(math.inf, number) if exceeds else number

    def _each(self, number: Tensor) -> list[Tensor]:
        """A number for each block, on the device and in the blocks' dtype."""
        return [number.to(self[0].dtype)] * len(self)

    def shift_(self, scalars: Shift) -> Vector:
        """Adds one number per block, or another vector, in place."""
        entries: list[Any] = list(scalars)
        torch._foreach_add_(self, entries)
        return self

    def mul_(self, scalars: Scalars) -> Vector:
        """self ← scalars·self."""
        torch._foreach_mul_(self.parts if isinstance(scalars, float | int) else self, _scalars(scalars))
        return self

    def dots(self, other: Sequence[Tensor]) -> list[float]:
        """Σ self∘other of every block, in one transfer from an accelerator.

        In float32 a product may overflow or vanish where the blocks do not; it is then formed in float64.
        """
        return _dots(self, other)

    def dot(self, other: Sequence[Tensor]) -> float:
        """Σ self∘other as a Python float; blocks are summed in float64."""
        mine, theirs = self._operands(other)
        return _total(self.dots(theirs) if mine is self else _dots(mine, theirs))

    def inner(self, other: Sequence[Tensor]) -> Number:
        """Σ self∘other like `dot`; on a GPU as a number that stays there, summed in float64."""
        if not is_on_gpu(self[0].device):
            return self.dot(other)
        entries = [product.reshape(-1) for product in torch._foreach_mul(self, list(other))]
        return (entries[0] if len(entries) == 1 else torch.cat(entries)).sum(dtype=torch.float64)

    def norm(self) -> float:
        """The 2-norm over all blocks."""
        return math.sqrt(self.dot(self))  # norm kernels add up a block in few partial sums: 1e-4 off for a million

    def isfinite(self) -> bool:
        return math.isfinite(self.norm()) or all(bool(block.isfinite().all()) for block in self)

    def clone(self) -> Vector:
        return self.with_parts([part.clone() for part in self.parts])

    def zeros_like(self) -> Vector:
        return self.with_parts([torch.zeros_like(part) for part in self.parts])

    def numel(self) -> int:
        return sum(block.numel() for block in self)


Shift = Sequence[float] | Vector  # of a diagonal: one number per block, or one per entry


def _views(whole: Tensor, like: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The blocks of a tensor in which they lie side by side, in these shapes."""
    views: tuple[Tensor, ...] = _unflatten_dense_tensors(whole, list(like))  # type: ignore[no-untyped-call]
    return views


def empty_vector(like: Sequence[Tensor]) -> Vector:
    """A vector to be filled, shaped like these tensors: on a CPU with its blocks side by side."""
    first = like[0]
    alike = all(block.numel() and (block.dtype, block.device) == (first.dtype, first.device) for block in like)
    if len(like) < 2 or first.device.type != "cpu" or not alike:
        return Vector(torch.empty_like(block, memory_format=torch.contiguous_format) for block in like)
    whole = first.new_empty(sum(block.numel() for block in like))
    made = Vector(_views(whole, like))
    made._parts = (whole,)
    return made


def residual_vector(outputs: Tensor, v: Sequence[Tensor]) -> Vector:
    """A vector of the residual space: a block of outputs, then those of v."""
    made = Vector((outputs, *v))
    made._parts = (outputs, *v.parts) if isinstance(v, Vector) and v._parts is not None else None
    return made


def _dots(blocks: Sequence[Tensor], others: Sequence[Tensor]) -> list[float]:
    """Σ a∘b of every pair. In float32 a product may overflow or vanish where they do not: it is formed in float64."""
    if blocks[0].device.type == "cuda":  # a piece is a launch, of which each costs more than its sum
        numbers = torch.stack([(a * b).sum(dtype=torch.float64) for a, b in zip(blocks, others, strict=True)]).tolist()
    else:
        numbers = _summed_in_pieces(blocks, others)
    least = torch.finfo(blocks[0].dtype).tiny
    for i, number in enumerate(numbers):
        if not (math.isfinite(number) and abs(number) >= least * blocks[i].numel() or _is_exact(blocks[i], others[i])):
            numbers[i] = _wide_dot(blocks[i], others[i])
    return numbers


def _summed_in_pieces(blocks: Sequence[Tensor], others: Sequence[Tensor]) -> list[float]:
    """Σ a∘b of every pair, of a long one in pieces, since one sum in float32 would lose digits."""
    sizes = [block.numel() for block in blocks]
    pieces = zip(_pieces(blocks, sizes), _pieces(others, sizes), strict=True)
    sums: list[float] = torch.stack([piece.dot(other) for piece, other in pieces]).tolist()
    if len(sums) == len(sizes):
        return sums
    coming = iter(sums)
    return [_total([next(coming) for _ in range(0, size or 1, PIECE)]) for size in sizes]


def _pieces(blocks: Sequence[Tensor], sizes: Sequence[int]) -> Sequence[Tensor]:
    """The blocks' entries in order, as vectors of at most `PIECE` entries, each of one block."""
    if isinstance(blocks, Vector) and len(blocks.parts) == 1:
        return torch.split_with_sizes(blocks.parts[0].reshape(-1), [n for size in sizes for n in _divided(size)])
    return [piece for block, size in zip(blocks, sizes, strict=True) for piece in _divided_block(block, size)]


def _divided_block(block: Tensor, size: int) -> Sequence[Tensor]:
    flat = block.reshape(-1)
    return (flat,) if size <= PIECE else torch.split(flat, PIECE)


def _divided(size: int) -> list[int]:
    """Sizes of the pieces of a block."""
    return [size] if size <= PIECE else [min(PIECE, size - first) for first in range(0, size, PIECE)]


def _wide_dot(a: Tensor, b: Tensor) -> float:
    """Σ a∘b with products formed in float64, of which few are held at a time."""
    pieces = zip(torch.split(a.reshape(-1), FEW), torch.split(b.reshape(-1), FEW), strict=True)
    return _total([float(piece.double().dot(other.double())) for piece, other in pieces])


def _is_exact(a: Tensor, b: Tensor) -> bool:
    """Whether Σ a∘b is what it is, however small or large: nothing overflows or vanishes in float64, or in zeros."""
    return a.dtype == torch.float64 or not (a.any() and b.any())


def _total(numbers: list[float]) -> float:
    """Their sum, rounded once; inf or NaN if it is not finite."""
    try:
        return math.fsum(numbers)
    except (OverflowError, ValueError):  # fsum refuses to overflow and to add inf to -inf
        return sum(numbers)


def _scalars(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) and not isinstance(value, Vector) else value


def as_vector(blocks: Iterable[Tensor], like: Sequence[Tensor]) -> Vector:
    """The blocks as a Vector. Raises ConfigError unless they are real tensors with the shapes of `like`, in order."""
    entries = list(blocks) if has_entries(blocks) else blocks
    if not (isinstance(entries, list) and len(entries) == len(like) and all(map(_fits, entries, like))):
        wanted = [tuple(block.shape) for block in like]
        raise ConfigError(
            f"a vector's blocks must have the parameters' shapes {wanted}, in order, and be real tensors, but got "
            f"{_in_words(entries)}."
        )
    return blocks if isinstance(blocks, Vector) else Vector(entries)


def check_in_output_space(u: Tensor, shape: Sequence[int], of: str = "the outputs' shape") -> None:
    """Raises ConfigError unless u is a real tensor with the shape of the outputs, which the message says in words."""
    if not (isinstance(u, Tensor) and not u.is_complex() and tuple(u.shape) == tuple(shape)):
        raise ConfigError(
            f"a tensor of the output space must be real and have {of} {tuple(shape)}, but got {_in_words(u)}."
        )


def _fits(block: object, like: Tensor) -> bool:
    return isinstance(block, Tensor) and not block.is_complex() and block.shape == like.shape


def _in_words(given: object) -> str:
    """Shapes of tensors, and the type of what is none; of a long list the first ones."""
    if isinstance(given, list):
        more = f", … ({len(given)} in all)" if len(given) > SHOWN else ""
        return f"[{', '.join(map(_in_words, given[:SHOWN]))}{more}]"
    if isinstance(given, Tensor):
        return f"{tuple(given.shape)}" + ", which is complex" * given.is_complex()
    return f"{' '.join(repr(given).split()):.60} ({type(given).__name__})"
