"""Orthogonality of a solver's basis, measured through its preconditioner.

The vectors that a solver passes to its preconditioner at its steps are orthogonal: CG's residuals r_k, with
r_jᵀM⁻¹r_k = 0 for j ≠ k, MINRES's A p_k, with (Ap_j)ᵀM⁻¹Ap_k = 0, and LSQR's and LSMR's v_k of the bidiagonalisation,
with v_jᵀv_k = 0. The residual of the start, which CG and MINRES pass before their first step, is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from hfbench.linalg.vector import Vector
from hfbench.parts.protocols import BuiltPreconditioner


class WatchedFactor:
    """A built preconditioner that remembers the last argument of `solve` or `solve_factor_t`."""

    def __init__(self, factor: BuiltPreconditioner) -> None:
        self.factor, self._watching = factor, True
        self._pair: tuple[Vector, Vector] | None = None

    def solve(self, v: Vector) -> Vector:
        """M⁻¹ v."""
        answer = self.factor.solve(v)
        if self._watching:
            self._pair = v, answer
        return answer

    def solve_factor(self, v: Vector) -> Vector:
        """E⁻¹ v."""
        return self.factor.solve_factor(v)

    def solve_factor_t(self, v: Vector) -> Vector:
        """E⁻ᵀ v."""
        if self._watching:
            self._pair = v, v
        return self.factor.solve_factor_t(v)

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """Suspends the watch, for a request of an iterate, which is no part of the algorithm."""
        self._watching = False
        try:
            yield
        finally:
            self._watching = True

    def take(self) -> tuple[Vector, Vector] | None:
        """The last vector and the one that it is orthogonal against, once."""
        pair, self._pair = self._pair, None
        return pair


LEAST = 1e-12  # of the first vector's norm; what is smaller is rounding, of a system that is solved


class Basis:
    """The vectors so far, as normalised rows."""

    def __init__(self) -> None:
        self._rows: list[Tensor] = []
        self._started = False
        self._first: float | None = None

    def loss(self, watched: WatchedFactor) -> float | None:
        """max_j |⟨v_j, v_k⟩| over all j < k, of the vector that has come since; None if there is none,
        or nothing but rounding. The first call is at state 0, and its vector is left out."""
        pair = watched.take()
        if pair is None or not self._started:
            self._started = True
            return None
        v, dual = (torch.cat([block.reshape(-1) for block in vector]) for vector in pair)
        norm = math.sqrt(max(pair[0].dot(pair[1]), 0.0))
        self._first = norm if self._first is None else self._first
        if not LEAST * self._first < norm < math.inf:
            return None
        worst = max((abs(float(row @ dual)) / norm for row in self._rows), default=0.0)
        self._rows.append(v.div_(norm) if pair[0] is not pair[1] else v / norm)
        return worst
