"""Systems for the contract of solvers: one that counts products, and an indefinite one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from hfbench.inner_solve.system import GaussNewtonSystem
from hfbench.linalg.vector import Vector
from hfbench.parts.protocols import System
from hfbench.parts.span import Span
from hfbench.testing.problems import random_vector


class Counted:
    """A system that counts its products and otherwise behaves like the given one."""

    def __init__(self, system: System) -> None:
        self.system, self._products, self._spans = system, 0.0, list[Span]()

    @property
    def products(self) -> float:
        """Products with A; of a span, by their cost."""
        return self._products + sum(span.products for span in self._spans)

    @property
    def gradient(self) -> Vector:
        return self.system.gradient

    @property
    def right_hand_side(self) -> Vector:
        return self.system.right_hand_side

    def multiply(self, v: Vector) -> Vector:
        self._products += 1
        return self.system.multiply(v)

    def multiply_columns(self, V: Sequence[Vector]) -> list[Vector]:
        self._products += len(V)
        return self.system.multiply_columns(V)

    def span(self, V: Sequence[Vector], split: str) -> Span:
        self._spans.append(self.system.span(V, split))
        return self._spans[-1]

    def forward(self, v: Vector) -> Vector:
        self._products += 0.5
        return self.system.forward(v)

    def adjoint(self, u: Vector) -> Vector:
        self._products += 0.5
        return self.system.adjoint(u)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.system, name)


class ProductsDone:
    """Counts the products that a system's linearisation makes, whoever asks for them."""

    def __init__(self, system: GaussNewtonSystem) -> None:
        self.products, self._at = 0.0, system.linearisation
        self._before = self._at.ledger.products
        single, listed, stacked = (lambda v: 1), len, (lambda U: int(U.shape[1]))
        for name, share, count in (
            *(("gauss_newton", 1.0, single), ("jvp", 0.5, single), ("vjp", 0.5, single)),
            *(("gauss_newton_columns", 1.0, listed), ("vjp_columns", 0.5, stacked)),
        ):
            setattr(self._at, name, self._counting(getattr(self._at, name), share, count))
        for name in ("jvp_parts", "gram_of_parts"):  # columns are parts, too
            setattr(self._at, name, self._by_cost(getattr(self._at, name)))

    @property
    def in_ledger(self) -> float:
        """Products that the ledger has counted meanwhile."""
        return float(self._at.ledger.products - self._before)

    def _counting(
        self, product: Callable[[Any], Any], share: float, count: Callable[[Any], int]
    ) -> Callable[[Any], Any]:
        def counted(v: Any) -> Any:
            self.products += share * count(v)
            return product(v)

        return counted

    def _by_cost(self, products: Callable[..., Any]) -> Callable[..., Any]:
        """Counts products with parts of vectors by what the ledger says that they cost."""

        def counted(*arguments: Any) -> Any:
            before = self._at.ledger.products
            answer = products(*arguments)
            self.products += self._at.ledger.products - before
            return answer

        return counted


class Indefinite:
    """A system whose matrix has a negative eigenvalue, with g not orthogonal to it, and hence no square root Ã.

    Anything beyond the matrix form of the protocol raises MatrixAlone.
    """

    def __init__(self, entries: int) -> None:
        Q = torch.linalg.qr(random_vector(entries * entries, 6).reshape(entries, entries))[0]
        eigenvalues = torch.linspace(1.0, 3.0, entries, dtype=torch.float64)
        eigenvalues[0] = -3.0
        self.A = Q @ torch.diag(eigenvalues) @ Q.T
        self.gradient = Vector((random_vector(entries, 7),))
        self.met = False  # whether it was multiplied by a v with vᵀAv <= 0

    def multiply(self, v: Vector) -> Vector:
        Av = self.A @ v[0]
        self.met = self.met or bool(v[0] @ Av <= 0)
        return Vector((Av,))

    def multiply_columns(self, V: Sequence[Vector]) -> list[Vector]:
        return [self.multiply(v) for v in V]

    def __getattr__(self, name: str) -> Any:
        raise MatrixAlone(name)


class MatrixAlone(AttributeError):
    """The solver uses more than the matrix: the least-squares form, or the model behind the system."""
