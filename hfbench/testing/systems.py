"""Systems that a solver is put to the test with: one that counts, and one that has no minimum."""

from __future__ import annotations

from typing import ClassVar

import torch

from hfbench.curvature import Linearisation
from hfbench.protocols import Factor, System
from hfbench.testing.problems import random_vector
from hfbench.vector import Shift, Vector


class Counted:
    """A system that counts its products and hands out what it must not be changed in."""

    def __init__(self, system: System) -> None:
        self.system, self.products = system, 0.0

    @property
    def gradient(self) -> Vector:
        return self.system.gradient

    @property
    def right_hand_side(self) -> Vector:
        return self.system.right_hand_side

    def multiply(self, v: Vector) -> Vector:
        self.products += 1
        return self.system.multiply(v)

    def forward(self, v: Vector) -> Vector:
        self.products += 0.5
        return self.system.forward(v)

    def adjoint(self, u: Vector) -> Vector:
        self.products += 0.5
        return self.system.adjoint(u)


class Indefinite:
    """A system whose matrix has one negative eigenvalue, which g is not orthogonal to. It has no square root Ã."""

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

    @property
    def right_hand_side(self) -> Vector:
        raise NeedsSquareRoot

    def forward(self, v: Vector) -> Vector:
        raise NeedsSquareRoot

    def adjoint(self, u: Vector) -> Vector:
        raise NeedsSquareRoot


class NeedsSquareRoot(Exception):
    """The solver works on min ‖Ãx - b̃‖, whose matrix ÃᵀÃ cannot be indefinite."""


class Something:
    """Stands for a preconditioner that does something."""

    cases: ClassVar[str] = "curvature"

    def build(self, linearisation: Linearisation, shift: Shift, generator: torch.Generator) -> Factor:
        raise NotImplementedError("it is asked for its kind, never built")
