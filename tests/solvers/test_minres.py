"""MINRES: its Lanczos process, its twin on the square root, and what it finds of an indefinite matrix."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from support.systems import Array, DenseSystem, DiagonalFactor, blocks, dense_system, flat

from hfbench.parts.protocols import Breakdown
from hfbench.solvers.cg import CG
from hfbench.solvers.lsmr import LSMR
from hfbench.solvers.minres import MINRES, lanczos
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


def test_lanczos_identities() -> None:
    """VᵀMV = I, and VᵀAV is tridiagonal with alpha on its diagonal and beta beside it."""
    system = dense_system("tall", 20.0, 0.05)
    m = np.random.default_rng(2).uniform(0.5, 2.0, 42)
    M = DiagonalFactor(m)
    r = -system.gradient
    y = M.solve(r)
    norm = r.dot(y) ** 0.5
    steps = list(islice(lanczos(system, M, r, y, norm), 8))
    V = np.stack([flat(v) for v, _, _ in steps], 1)
    alphas, betas = [alpha for _, alpha, _ in steps], [beta for _, _, beta in steps][:-1]
    assert np.allclose(V[:, 0], flat(y) / norm)
    assert np.allclose(V.T @ (m[:, None] * V), np.eye(8), atol=1e-10)
    assert np.allclose(V.T @ system.A @ V, np.diag(alphas) + np.diag(betas, 1) + np.diag(betas, -1), atol=1e-10)


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
