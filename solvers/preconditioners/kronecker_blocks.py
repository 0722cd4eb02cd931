"""Blocks of a Kronecker-factored preconditioner: M = E Eᵀ in three ways to damp L ⊗ R.

"split"    (L + √γ/π I) ⊗ (R + π√γ I), by Cholesky factors: two matrix products for M⁻¹v, with inverses formed at the
           first one, and two triangular solves for E⁻¹v or E⁻ᵀv
"exact"    L ⊗ R + γ I, by eigenvectors: four products for M⁻¹v, to them and back, and two for E⁻¹v or E⁻ᵀv
"rescaled" the same with squares of gradients as eigenvalues
A vector's block is a matrix V (p × q), on which L ⊗ R acts as L V R. Other parameters have diag(d) + γ I.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from hfbench.curvature.block_factors import BlockFactors, DiagonalFactor
from hfbench.curvature.kronecker_factors import LayerFactors
from hfbench.curvature.work_ledger import PartsLedger
from hfbench.errors import NonFiniteError
from hfbench.linalg.layout import Layout
from hfbench.linalg.vector import empty_vector
from hfbench.parts import Vector


class Spectrum(NamedTuple):
    """F = Q diag(values) Qᵀ."""

    values: Tensor
    Q: Tensor


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


def damped_cholesky(F: Tensor, damping: float) -> Tensor:
    """C with C Cᵀ = F + damping I, of a positive semidefinite F.

    Where F + damping I is singular up to rounding, F's eigenvalues that rounding made negative count as zero. Raises
    NonFiniteError for a factor that is not finite, and for one that is singular then, too.
    """
    damped = F.clone()
    damped.diagonal().add_(damping)
    C: Tensor
    C, failed = torch.linalg.cholesky_ex(damped)
    pivots = C.diagonal().square()
    if not failed and pivots.min() > len(F) * torch.finfo(F.dtype).eps * pivots.max():
        return C
    values, Q = spectrum(F.double())
    R = torch.linalg.qr(_positive(values + damping).sqrt()[:, None] * Q.T).R
    C = (R * R.diagonal().sign()[:, None]).T.to(F.dtype)
    return C


class KroneckerBlock(Protocol):
    """One block of M, E Eᵀ, on matrices V (p × q), or on tensors of a parameter's shape."""

    costs: ClassVar[Costs]
    dtype: torch.dtype  # of V in `solve`; the others take V in the weights' own

    @property
    def where(self) -> BlockFactors: ...
    def solve(self, V: Tensor) -> Tensor: ...
    def solve_factor(self, V: Tensor) -> Tensor: ...
    def solve_factor_t(self, V: Tensor) -> Tensor: ...


class Costs(NamedTuple):
    """Multiplications of a block, in its p³ + q³ or its pq(p + q)."""

    build: float  # of p³ + q³, beside decompositions that serve several builds
    first_solve: float  # of p³ + q³: inverses
    solve: float  # of pq(p + q)
    solve_factor: float


class SplitBlock:
    """(L + √γ/π I) ⊗ (R + π√γ I), with E = C_L ⊗ C_R from the Cholesky factors of both."""

    costs: ClassVar[Costs] = Costs(build=1 / 6, first_solve=1 / 3, solve=1.0, solve_factor=0.5)

    def __init__(self, where: LayerFactors, left: Tensor, right: Tensor, gamma: float, dtype: torch.dtype) -> None:
        of_left, of_right = damping_of(_mean_eigenvalue(left), _mean_eigenvalue(right), gamma)
        self.where, self.dtype = where, dtype
        self.left, self.right = damped_cholesky(left, of_left), damped_cholesky(right, of_right)

    @cached_property
    def inverses(self) -> tuple[Tensor, Tensor]:
        """The inverses of both damped factors."""
        left, right = (torch.cholesky_inverse(C).to(self.dtype) for C in (self.left, self.right))
        return left, right

    def solve(self, V: Tensor) -> Tensor:
        left, right = self.inverses
        return left @ V @ right

    def solve_factor(self, V: Tensor) -> Tensor:
        return _solved(self.right, _solved(self.left, V, upper=False).T, upper=False).T

    def solve_factor_t(self, V: Tensor) -> Tensor:
        return _solved(self.right.T, _solved(self.left.T, V, upper=True).T, upper=True).T


class DiagonalBlock:
    """diag(d) + γ I for a parameter without Kronecker factors, V in its shape."""

    costs: ClassVar[Costs] = Costs(build=0.0, first_solve=0.0, solve=0.0, solve_factor=0.0)

    def __init__(self, where: DiagonalFactor, squares: Tensor, gamma: float) -> None:
        self.where, self.dtype = where, squares.dtype
        self.inverse_root = _positive(squares + gamma).rsqrt_()

    def solve(self, V: Tensor) -> Tensor:
        return V * self.inverse_root * self.inverse_root

    def solve_factor(self, V: Tensor) -> Tensor:
        return V * self.inverse_root

    solve_factor_t = solve_factor


class ExactBlock:
    """L ⊗ R + γ I, with E = (Q_L ⊗ Q_R) times the roots of the eigenvalues l rᵀ + γ, or of squares + γ."""

    costs: ClassVar[Costs] = Costs(build=0.0, first_solve=0.0, solve=2.0, solve_factor=1.0)

    def __init__(self, where: LayerFactors, left: Spectrum, right: Spectrum, gamma: float) -> None:
        self.where, self.dtype, self.left, self.right = where, left.Q.dtype, left.Q, right.Q
        eigenvalues = torch.outer(left.values, right.values) if where.squares is None else where.squares.to(left.Q)
        self.inverse_root = _positive(eigenvalues + gamma).rsqrt_()

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


def _solved(C: Tensor, V: Tensor, upper: bool) -> Tensor:
    """C⁻¹V for a triangular C."""
    solved: Tensor = torch.linalg.solve_triangular(C, V, upper=upper)
    return solved


def _mean_eigenvalue(F: Tensor) -> float:
    """tr F / dim F."""
    return float(F.diagonal().mean())


# ---------------------------------------------------------------- all of them


def pass_cost(factors: Sequence[BlockFactors]) -> float:
    """C, the multiplications of one case's forward pass."""
    return sum(factor.pass_cost for factor in factors)


def projected(factor: LayerFactors) -> float:
    """T(p² + q² + pq), the multiplications per case of squares in the eigenvectors."""
    p, q = factor.shape
    return factor.places * (p * p + q * q + p * q)


def cubes(factors: Sequence[BlockFactors]) -> float:
    """Σ (p³ + q³) / C."""
    return sum(map(_cubes, factors)) / pass_cost(factors)


class KroneckerFactor:
    """M = E Eᵀ, a block per layer."""

    replayable: ClassVar[bool] = True

    def __init__(
        self, blocks: Sequence[KroneckerBlock], layout: Layout, ledger: PartsLedger, is_new: bool = True
    ) -> None:
        """`is_new` says whether the blocks were made for this M, or come from an earlier one."""
        self.blocks, self.layout, self.ledger, self.is_new = blocks, layout, ledger, is_new
        self.cost_of_pass = pass_cost([block.where for block in blocks])
        if is_new:
            self._count(sum(block.costs.build * _cubes(block.where) for block in blocks))

    @cached_property
    def _solves(self) -> list[Callable[[Tensor], Tensor]]:
        """M⁻¹ of every block."""
        if self.is_new:
            self._count(sum(block.costs.first_solve * _cubes(block.where) for block in self.blocks))
        return [block.solve for block in self.blocks]

    def solve(self, v: Vector) -> Vector:
        """M⁻¹ v."""
        self._count(sum(block.costs.solve * _products(block) for block in self.blocks))
        return self._applied(v, self._solves, [block.dtype for block in self.blocks])

    def solve_factor(self, v: Vector) -> Vector:
        """E⁻¹ v."""
        self._count(sum(block.costs.solve_factor * _products(block) for block in self.blocks))
        return self._applied(v, [block.solve_factor for block in self.blocks], [v[0].dtype] * len(self.blocks))

    def solve_factor_t(self, v: Vector) -> Vector:
        """E⁻ᵀ v."""
        self._count(sum(block.costs.solve_factor * _products(block) for block in self.blocks))
        return self._applied(v, [block.solve_factor_t for block in self.blocks], [v[0].dtype] * len(self.blocks))

    def _applied(self, v: Vector, each: Sequence[Callable[[Tensor], Tensor]], dtypes: Sequence[torch.dtype]) -> Vector:
        given = self.layout.unpack(v)
        made = empty_vector(given)
        for block, apply, dtype in zip(self.blocks, each, dtypes, strict=True):
            block.where.put(apply(block.where.take(given, dtype)), made)
        return self.layout.pack(made)

    def _count(self, multiplications: float) -> None:
        self.ledger.count("algebra", round(multiplications / self.cost_of_pass))


def _cubes(factor: BlockFactors) -> float:
    """p³ + q³; 0 without Kronecker factors."""
    if not isinstance(factor, LayerFactors):
        return 0.0
    p, q = factor.shape
    return float(p**3 + q**3)


def _products(block: KroneckerBlock) -> float:
    """pq(p + q), the multiplications of a product from the left and one from the right; 0 without Kronecker factors."""
    if not isinstance(block.where, LayerFactors):
        return 0.0
    p, q = block.where.shape
    return float(p * q * (p + q))
