"""The randomised Nyström approximation, kept over steps, and the factor that it gives: see `nystrom`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hfbench.errors import ConfigError, NonFiniteError
from hfbench.linalg.columns import as_column, as_matrix, from_column
from hfbench.parts import Linearisation, Shift, Vector

ENTRIES = ("steps", "U", "eigenvalues")  # of a saved state


class LowRank(NamedTuple):
    """U diag(eigenvalues) Uᵀ with orthonormal U, P × k, and eigenvalues in falling order; float64."""

    U: Tensor
    eigenvalues: Tensor


def nystrom_approximation(
    multiply: Callable[[Tensor], Tensor], Omega: Tensor, rounding: float, Y: Tensor | None = None
) -> tuple[LowRank, Tensor]:
    """Ĝ from GΩ, and GΩ itself; `Y` has its first columns if they are known. Algorithm 2.1.

    `rounding` is the relative error of GΩ. Raises NonFiniteError if GΩ is not finite.
    """
    known = 0 if Y is None else Y.shape[1]
    new = multiply(Omega[:, known:])
    Y = new if Y is None else torch.cat([Y, new], dim=1)
    if not Y.isfinite().all():
        raise NonFiniteError("products with the Gauss-Newton matrix must be finite to be approximated, but are not.")
    nu = max(rounding * float(torch.linalg.matrix_norm(Y)), torch.finfo(Y.dtype).tiny)
    while True:
        Y_nu = Y + nu * Omega
        H = Omega.T @ Y_nu
        found = torch.linalg.cholesky_ex((H + H.T) / 2)
        if not found.info:
            break
        nu *= 10  # rounding was more than was reckoned with
    B = torch.linalg.solve_triangular(found.L.T, Y_nu, upper=True, left=False)
    U, sigma, _ = torch.linalg.svd(B, full_matrices=False)
    return LowRank(U, (sigma.square() - nu).clamp(min=0.0)), Y


class LowRankFactor:
    """M = E Eᵀ with E = Λ^½ C, C = U (S + I)^½ Uᵀ + (s_k + 1)^½ (I - U Uᵀ) symmetric."""

    def __init__(self, scaled: LowRank, root_shift: Shift, linearisation: Linearisation) -> None:
        self.U, self.root_shift = scaled.U.to(linearisation.blocks[0].dtype), root_shift
        inverse = 1 / (scaled.eigenvalues + 1)
        self.least = float(inverse[-1])
        self.inverse = inverse.to(self.U.dtype)
        self.ledger = linearisation.ledger

    def solve(self, v: Vector) -> Vector:
        """M⁻¹ v."""
        return self._inner(v / self.root_shift, 1.0) / self.root_shift

    def solve_factor(self, v: Vector) -> Vector:
        """E⁻¹ v."""
        return self._inner(v / self.root_shift, 0.5)

    def solve_factor_t(self, v: Vector) -> Vector:
        """E⁻ᵀ v."""
        return self._inner(v, 0.5) / self.root_shift

    def _inner(self, v: Vector, power: float) -> Vector:
        """C^(-2·power) v."""
        self.ledger.count("algebra", 2 * len(self.inverse))
        entries = as_column(v).to(self.U.dtype)
        c = self.U.T @ entries
        least = self.least**power
        return from_column(v, entries * least + self.U @ ((self.inverse**power - least)[:, None] * c))


class NystromSketches:
    """Approximations over the steps of one run, each kept for `refresh` steps."""

    def __init__(self, parameters: int, rank: int, most: int, tolerance: float, refresh: int) -> None:
        self.parameters, self.refresh, self.tolerance = parameters, refresh, tolerance
        self.rank, self.most = min(rank, parameters), min(most, parameters)
        self.steps = 0
        self.kept: LowRank | None = None

    def build(self, linearisation: Linearisation, shift: Shift, generator: torch.Generator) -> LowRankFactor:
        """M of the next step. Raises NonFiniteError unless shift is positive."""
        like = linearisation.layout.pack(linearisation.blocks)
        diagonal = as_column(like.zeros_like().shift_(shift))[:, 0]
        if not diagonal.min() > 0:
            raise NonFiniteError(
                f"the preconditioner nystrom needs a positive damping, but mu + lambda is {float(diagonal.min()):.3g} "
                "for some parameters: give a min_damping, or decay to every parameter."
            )
        if self.kept is None or self.steps % self.refresh == 0:
            self.kept = self._sketched(linearisation, diagonal, generator)
        self.steps += 1
        root = from_column(like, diagonal.sqrt())
        return LowRankFactor(_scaled(self.kept, diagonal), root, linearisation)

    def _sketched(self, at: Linearisation, diagonal: Tensor, generator: torch.Generator) -> LowRank:
        """Ĝ of a rank at which its least eigenvalue is below the tolerance, or of the largest."""
        like = at.layout.pack(at.blocks)

        def multiply(columns: Tensor) -> Tensor:
            return as_matrix(at.gauss_newton_columns([from_column(like, entries) for entries in columns.T]))

        rounding = max(torch.finfo(at.precision.dtype).eps, torch.finfo(at.blocks[0].dtype).eps)
        rounding *= self.parameters**0.5
        k, Omega, Y = self.rank, diagonal.new_empty(self.parameters, 0), None
        while True:
            drawn = torch.randn(
                self.parameters, k - Omega.shape[1], generator=generator, dtype=torch.float64, device=generator.device
            )
            Omega = _orthonormal(Omega, drawn.to(Omega))
            found, Y = nystrom_approximation(multiply, Omega, rounding, Y)
            at.ledger.count("algebra", 6 * k * k)
            if k >= self.most or float(found.eigenvalues[-1]) <= self.tolerance * float(diagonal.min()):
                return found
            k = min(2 * k, self.most)

    def state_dict(self) -> dict[str, Any]:
        """The approximation as tensors, which later builds do not change."""
        if self.kept is None:
            return {}
        return {"steps": self.steps, "U": self.kept.U, "eigenvalues": self.kept.eigenvalues}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises ConfigError unless it is a state for as many parameters."""
        if not state:
            self.steps, self.kept = 0, None
            return
        U, eigenvalues, steps = (state.get(name) for name in ("U", "eigenvalues", "steps"))
        fits = (
            set(state) == set(ENTRIES)
            and isinstance(steps, int)
            and steps > 0
            and isinstance(U, Tensor)
            and isinstance(eigenvalues, Tensor)
            and U.dim() == 2
            and tuple(eigenvalues.shape) == (U.shape[1],)
        )
        if not fits:
            raise ConfigError(
                f"the state of nystrom must have {', '.join(ENTRIES)}, but has {', '.join(map(str, state))}: a "
                "preconditioner nystrom has not saved it."
            )
        assert isinstance(U, Tensor)
        assert isinstance(eigenvalues, Tensor)
        assert isinstance(steps, int)
        if len(U) != self.parameters:
            raise ConfigError(
                f"the state of nystrom must be for {self.parameters} parameters, but is for {len(U)}: it is of another "
                "model."
            )
        self.steps, self.kept = steps, LowRank(U, eigenvalues)


def _orthonormal(Omega: Tensor, more: Tensor) -> Tensor:
    """Orthonormal columns of which the first are those of Omega as they are."""
    for _ in range(2):  # once more for what the first time left by rounding
        more = torch.linalg.qr(more - Omega @ (Omega.T @ more)).Q
    return torch.cat([Omega, more], 1)


def _scaled(approximation: LowRank, diagonal: Tensor) -> LowRank:
    """Eigenvectors and eigenvalues of Λ^-½ Ĝ Λ^-½."""
    U, eigenvalues = approximation
    if diagonal.min() == diagonal.max():
        return LowRank(U, eigenvalues / diagonal[0])
    F = U * eigenvalues.sqrt() / diagonal.sqrt()[:, None]
    V, sigma, _ = torch.linalg.svd(F, full_matrices=False)
    return LowRank(V, sigma.square())
