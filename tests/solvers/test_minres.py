"""MINRES: its conjugate residuals, its twin on the square root, and what it finds of an indefinite matrix."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from support.systems import Array, DenseSystem, DiagonalFactor, blocks, dense_system, flat

from hfbench.linalg.vector import Vector
from hfbench.parts.protocols import Breakdown
from hfbench.solvers.cg import CG
from hfbench.solvers.lsmr import LSMR
from hfbench.solvers.minres import MINRES, conjugate_residuals
from hfbench.solvers.preconditioners.identity import Unit


class Indefinite(DenseSystem):
    """(A) x = b for a symmetric A of any signs, at hand as `matrix`."""

    @property
    def A(self) -> Array:
        return self.K

    @property
    def gradient(self):
        return blocks(-self.b)


def indefinite(negative: float, seed: int = 0) -> Indefinite:
    """40 eigenvalues from 0.1 to 1, two of them turned to `negative`."""
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.standard_normal((42, 42)))
    eigenvalues = np.r_[np.linspace(0.1, 1.0, 40), negative, negative / 2]
    return Indefinite((Q * eigenvalues) @ Q.T, rng.standard_normal(42))


@pytest.fixture(params=["plain", "warm", "preconditioned", "both"])
def setting(request: pytest.FixtureRequest):
    system = dense_system("tall", 20.0, 0.05)
    rng = np.random.default_rng(1)
    m = np.diag(system.A) * rng.uniform(0.5, 2.0, 42)
    x0 = blocks(rng.standard_normal(42)) if request.param in ("warm", "both") else None
    return system, x0, DiagonalFactor(m) if request.param in ("preconditioned", "both") else Unit()


def test_its_iterates_are_lsmrs_on_the_square_root(setting) -> None:
    """Whatever the start, and with a preconditioner too: x, q and the residual."""
    system, x0, M = setting
    pairs = zip(*(solver.iterates(system, x0, M) for solver in (MINRES(), LSMR())), strict=False)
    for ours, theirs in islice(pairs, 16):
        np.testing.assert_allclose(flat(ours.x), flat(theirs.x), rtol=1e-7, atol=1e-9)
        assert ours.q == pytest.approx(theirs.q, rel=1e-10, abs=1e-13)
        assert ours.relative_residual == pytest.approx(theirs.relative_residual, rel=1e-7)
        assert ours.products + 0.5 == pytest.approx(theirs.products, abs=0.5)


def test_identities_of_conjugate_residuals() -> None:
    """r = b - Ax, z = M⁻¹r and Ap are what they are called, zᵀAz is diagonal, and the Ap are orthogonal in M⁻¹."""
    system = dense_system("tall", 20.0, 0.05)
    m = np.random.default_rng(2).uniform(0.5, 2.0, 42)
    M = DiagonalFactor(m)
    b, x0 = -flat(system.gradient), np.random.default_rng(3).standard_normal(42)
    r = blocks(b - system.A @ x0)
    process = conjugate_residuals(system, M, blocks(x0), r * 0.5, M.solve(r) * 0.5, 2.0)
    Z, AP = [0.5 * flat(M.solve(r))], []
    for (x, r, z, p, Ap, _), _ in islice(process, 8):
        assert np.allclose(2 * flat(r), b - system.A @ flat(x), atol=1e-12)
        assert np.allclose(flat(z), flat(r) / m, atol=1e-12)
        assert np.allclose(flat(Ap), system.A @ flat(p), atol=1e-12)
        Z.append(flat(z))
        AP.append(flat(Ap) / np.sqrt(m))
    for G in (np.array(Z) @ system.A @ np.array(Z).T, np.array(AP) @ np.array(AP).T):
        scale = np.sqrt(np.outer(np.diag(G), np.diag(G)))
        assert np.allclose(G / scale, np.eye(len(G)), atol=1e-9)


def test_a_residual_whose_product_overflows_is_scaled_first() -> None:
    """In float32, as of raw features: entries of 1e30 under a matrix of 1e10."""
    entries = torch.linspace(1.0, 2.0, 6)

    class Large:
        gradient = Vector((1e30 * entries,))

        def multiply(self, v: Vector) -> Vector:
            return Vector((1e10 * entries * v[0],))

    states = list(islice(MINRES().iterates(Large(), None, Unit()), 7))
    torch.testing.assert_close(states[-1].x[0], torch.full((6,), -1e20))
    assert states[-1].q == pytest.approx(-0.5e50 * float(entries.sum()), rel=1e-5)


@pytest.mark.parametrize("negative", [-1.0, -0.05, -1e-3])
@pytest.mark.parametrize("preconditioned", [False, True])
def test_nonpositive_curvature_is_told_by_the_residual(negative: float, preconditioned: bool) -> None:
    """The last residual has yᵀAy <= 0, y = M⁻¹r, none before has; CG meets its own at the same step."""
    system = indefinite(negative)
    m = np.random.default_rng(3).uniform(0.5, 2.0, 42) if preconditioned else np.ones(42)
    states = list(islice(MINRES().iterates(system, None, DiagonalFactor(m)), 60))
    last = states[-1]
    assert last.breakdown is Breakdown.NONPOSITIVE_CURVATURE
    ys = [(system.b - system.A @ flat(state.x)) / m for state in states]
    curvatures = [y @ system.A @ y / (y @ (m * y)) for y in ys]
    assert curvatures[-1] <= 0
    assert min(curvatures[:-2]) > 0
    assert (last.k, last.products) == (states[-2].k + 1, states[-2].products + 1)
    assert np.array_equal(flat(last.x), flat(states[-2].x)), "x stays where it was"
    assert (last.q, last.relative_residual) == (states[-2].q, states[-2].relative_residual)
    theirs = list(islice(CG().iterates(system, None, DiagonalFactor(m)), 60))[-1]
    assert (theirs.breakdown, theirs.k) == (last.breakdown, last.k)


def test_a_start_of_nonpositive_curvature_ends_at_once() -> None:
    system = Indefinite(-np.eye(6), np.arange(1.0, 7.0))
    first, last = MINRES().iterates(system, None, Unit())
    assert first.breakdown is None
    assert (last.k, last.breakdown) == (1, Breakdown.NONPOSITIVE_CURVATURE)


def test_a_start_that_solves_the_system_is_all() -> None:
    system = DenseSystem(2.0 * np.eye(6), np.arange(1.0, 7.0))
    (state,) = MINRES().iterates(system, blocks(system.solution()), Unit())
    assert (state.k, state.relative_residual, state.products, state.breakdown) == (0, 0.0, 1, None)
    assert state.q == pytest.approx(system.q(system.solution()))
