"""Blocks of a Kronecker-factored preconditioner, by eigenvectors: M = E Eᵀ in two ways to damp L ⊗ R.

"split"    (L + √γ/π I) ⊗ (R + π√γ I): two matrix products for M⁻¹v, by inverses formed at the first one
"exact"    L ⊗ R + γ I: four, to the eigenvectors and back
and two for E⁻¹v or E⁻ᵀv with either. A vector's block is a matrix V (p × q), on which L ⊗ R acts as L V R.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from hfbench.curvature.kronecker_factors import LayerFactors
from hfbench.curvature.work_ledger import PartsLedger
from hfbench.errors import NonFiniteError
from hfbench.linalg.layout import Layout
from hfbench.parts import Vector


class Spectrum(NamedTuple):
    """F = Q diag(values) Qᵀ."""

    values: Tensor
    Q: Tensor

    @property
    def mean(self) -> float:
        """tr F / dim F."""
        return float(self.values.mean())


def spectrum(F: Tensor) -> Spectrum:
    """Spectrum of a positive semidefinite matrix; eigenvalues that rounding made negative become zero."""
    if not bool(F.isfinite().all()):
        raise NonFiniteError("a Kronecker factor must be finite, but has entries that are not.")
    try:
        values, Q = torch.linalg.eigh(F)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # float32 may not converge
        values, Q = (tensor.to(F.dtype) for tensor in torch.linalg.eigh(F.double()))
    return Spectrum(values.clamp_(min=0), Q)


class KroneckerBlock(Protocol):
    """One block of M, E Eᵀ, on matrices V (p × q)."""

    forms: ClassVar[bool]  # whether the first `solve` forms inverses
    products: ClassVar[int]  # of a `solve`, in pairs
    where: LayerFactors

    def solve(self, V: Tensor) -> Tensor: ...
    def solve_factor(self, V: Tensor) -> Tensor: ...
    def solve_factor_t(self, V: Tensor) -> Tensor: ...


class SplitBlock:
    """(L + √γ/π I) ⊗ (R + π√γ I), with E = (Q_L ⊗ Q_R) times the roots of the eigenvalues."""

    forms: ClassVar[bool] = True
    products: ClassVar[int] = 1

    def __init__(self, where: LayerFactors, left: Spectrum, right: Spectrum, gamma: float) -> None:
        of_left, of_right = damping_of(left.mean, right.mean, gamma)
        self.where = where
        self.left = left.Q / _positive(left.values + of_left).sqrt()
        self.right = right.Q / _positive(right.values + of_right).sqrt()

    @cached_property
    def inverses(self) -> tuple[Tensor, Tensor]:
        return self.left @ self.left.T, self.right @ self.right.T

    def solve(self, V: Tensor) -> Tensor:
        left, right = self.inverses
        return left @ V @ right

    def solve_factor(self, V: Tensor) -> Tensor:
        return self.left.T @ V @ self.right

    def solve_factor_t(self, V: Tensor) -> Tensor:
        return self.left @ V @ self.right.T


class ExactBlock:
    """L ⊗ R + γ I, with E = (Q_L ⊗ Q_R) times the roots of the eigenvalues l rᵀ + γ."""

    forms: ClassVar[bool] = False
    products: ClassVar[int] = 2

    def __init__(self, where: LayerFactors, left: Spectrum, right: Spectrum, gamma: float) -> None:
        self.where, self.left, self.right = where, left.Q, right.Q
        self.inverse_root = _positive(torch.outer(left.values, right.values).add_(gamma)).rsqrt_()

    def solve(self, V: Tensor) -> Tensor:
        return self.solve_factor_t(self.solve_factor(V))

    def solve_factor(self, V: Tensor) -> Tensor:
        return (self.left.T @ V @ self.right).mul_(self.inverse_root)

    def solve_factor_t(self, V: Tensor) -> Tensor:
        return self.left @ (V * self.inverse_root) @ self.right.T


def damping_of(left: float, right: float, gamma: float) -> tuple[float, float]:
    """Damping of each factor, √γ/π for L and π√γ for R, from their mean eigenvalues: π² = right / left.

    If a factor is zero, π = 1.
    """
    pi = math.sqrt(right / left) if left > 0 and right > 0 else 1.0
    return math.sqrt(gamma) / pi, math.sqrt(gamma) * pi


def _positive(eigenvalues: Tensor) -> Tensor:
    smallest = float(eigenvalues.min())
    if not smallest > 0:
        raise NonFiniteError(
            f"a preconditioner must be positive definite, but its smallest eigenvalue is {smallest}; a larger damping "
            "keeps it so."
        )
    return eigenvalues


# ---------------------------------------------------------------- all of them


def pass_cost(factors: Sequence[LayerFactors]) -> float:
    """C, the multiplications of one case's forward pass."""
    return sum(factor.pass_cost for factor in factors)


def cubes(factors: Sequence[LayerFactors]) -> float:
    """Σ (p³ + q³) / C."""
    return sum(p**3 + q**3 for p, q in (factor.shape for factor in factors)) / pass_cost(factors)


class KroneckerFactor:
    """M = E Eᵀ, a block per layer."""

    replayable: ClassVar[bool] = True

    def __init__(self, blocks: Sequence[KroneckerBlock], layout: Layout, ledger: PartsLedger) -> None:
        self.blocks, self.layout, self.ledger = blocks, layout, ledger
        sizes = [block.where.shape for block in blocks]
        self.units = [p * q * (p + q) / pass_cost([block.where for block in blocks]) for p, q in sizes]

    @cached_property
    def _solves(self) -> list[Callable[[Tensor], Tensor]]:
        """M⁻¹ of every block."""
        formed = [block.where for block in self.blocks if block.forms]
        self.ledger.count("algebra", round(cubes(formed)) if formed else 0)
        return [block.solve for block in self.blocks]

    def solve(self, v: Vector) -> Vector:
        """M⁻¹ v."""
        units = sum(block.products * each for block, each in zip(self.blocks, self.units, strict=True))
        return self._applied(v, self._solves, units)

    def solve_factor(self, v: Vector) -> Vector:
        """E⁻¹ v."""
        return self._applied(v, [block.solve_factor for block in self.blocks], sum(self.units))

    def solve_factor_t(self, v: Vector) -> Vector:
        """E⁻ᵀ v."""
        return self._applied(v, [block.solve_factor_t for block in self.blocks], sum(self.units))

    def _applied(self, v: Vector, each: Sequence[Callable[[Tensor], Tensor]], units: float) -> Vector:
        self.ledger.count("algebra", round(units))
        parts = list(self.layout.unpack(v))
        for block, apply in zip(self.blocks, each, strict=True):
            block.where.put(apply(block.where.take(parts)), parts)
        return self.layout.pack(Vector(parts))
