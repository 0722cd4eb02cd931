"""Orthogonality of bases: kept in float64, and lost in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.systems import DenseSystem, DiagonalFactor, dense_system

from hfbench import registry
from hfbench.inner_solve.solve import solve
from hfbench.linalg.vector import Vector
from hfbench.probe.orthogonality import Basis, WatchedFactor


@pytest.mark.parametrize("name", ["cg", "minres", "lsqr", "lsmr"])
def test_in_float64_a_basis_is_orthogonal_and_in_float32_it_is_not_for_long(name: str) -> None:
    system = dense_system("tall", 1e6, 1e-4)
    losses = {dtype: _loss_of_orthogonality(name, system, dtype) for dtype in (torch.float64, torch.float32)}
    assert losses[torch.float64] < 1e-8
    assert 1e-8 < losses[torch.float32] < 1.1


def _loss_of_orthogonality(name: str, system: DenseSystem, dtype: torch.dtype) -> float:
    diagonal = DiagonalFactor(np.diag(system.A))
    diagonal.m = Vector(block.to(dtype) for block in diagonal.m)
    factor, basis, found = WatchedFactor(diagonal), Basis(), list[float | None]()

    def look(state: object) -> None:
        found.append(basis.loss(factor))

    solve(registry.build("solver", name), _Rounded(system, dtype), None, factor, [], [look], 6)
    return max(loss for loss in found if loss is not None)


class _Rounded:
    """A dense system whose vectors are of another dtype."""

    def __init__(self, system: DenseSystem, dtype: torch.dtype) -> None:
        self.system, self.dtype = system, dtype

    def _round(self, v: Vector) -> Vector:
        return Vector(block.to(self.dtype) for block in v)

    def _wide(self, v: Vector) -> Vector:
        return Vector(block.double() for block in v)

    gradient = property(lambda self: self._round(self.system.gradient))
    right_hand_side = property(lambda self: self._round(self.system.right_hand_side))

    def multiply(self, v: Vector) -> Vector:
        return self._round(self.system.multiply(self._wide(v)))

    def forward(self, v: Vector) -> Vector:
        return self._round(self.system.forward(self._wide(v)))

    def adjoint(self, u: Vector) -> Vector:
        return self._round(self.system.adjoint(self._wide(u)))
