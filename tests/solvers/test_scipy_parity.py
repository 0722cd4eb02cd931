"""CG, LSQR, LSMR and MINRES against SciPy, step by step; dense solutions where SciPy solves another problem."""

from __future__ import annotations

import warnings
from itertools import islice

import numpy as np
import pytest
from scipy.sparse.linalg import cg, lsmr, lsqr, minres
from support.systems import Array, DenseSystem, DiagonalFactor, blocks, dense_system, flat

from hfbench.solvers.cg import CG
from hfbench.solvers.lsmr import LSMR
from hfbench.solvers.lsqr import LSQR
from hfbench.solvers.minres import MINRES
from hfbench.solvers.preconditioners.identity import Unit

SOLVERS = {"cg": CG(), "lsqr": LSQR(), "lsmr": LSMR(), "minres": MINRES()}
SHAPES = ["square", "tall", "wide"]


def scipy_iterate(name: str, system: DenseSystem, k: int) -> Array:
    """SciPy's x after k steps from zero, without any tolerance. Damping is damp = √lambda there."""
    damp = system.damping**0.5
    if name == "lsqr":
        return lsqr(system.K, system.b, damp=damp, atol=0, btol=0, conlim=0, iter_lim=k)[0]
    if name == "lsmr":
        return lsmr(system.K, system.b, damp=damp, atol=0, btol=0, conlim=0, maxiter=k)[0]
    if name == "minres":
        return scipy_minres(system, k)[-1]
    return cg(system.A, system.K.T @ system.b, rtol=0, maxiter=k)[0]


def scipy_minres(system: DenseSystem, steps: int) -> list[Array]:
    """SciPy's x after 1, 2, … steps, as its callback sees them."""
    iterates: list[Array] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it divides by the tolerance
        right = system.K.T @ system.b
        minres(system.A, right, rtol=0, maxiter=steps, callback=lambda x: iterates.append(x.copy()))
    return iterates


def our_states(name: str, system: DenseSystem, steps: int) -> list:
    return list(islice(SOLVERS[name].iterates(system, None, Unit()), steps + 1))


def relative(a: Array, b: Array) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("damping", [0.0, 0.05])
@pytest.mark.parametrize(("condition", "steps"), [(20.0, 20), (1e3, 8)])
def test_iterates_equal_scipys(name: str, shape: str, damping: float, condition: float, steps: int) -> None:
    """`condition` is that of the matrix of (1), KᵀK: the same systems for all."""
    if name == "cg" and shape == "wide" and damping == 0:
        pytest.skip("KᵀK of a wide K is singular: CG needs a definite matrix")
    system = dense_system(shape, condition**0.5, damping)
    states = our_states(name, system, steps)
    assert len(states) == steps + 1
    for state in states[1:]:
        assert relative(flat(state.x), scipy_iterate(name, system, state.k)) < 1e-9, state.k


@pytest.mark.parametrize("name", ["lsqr", "lsmr"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("damping", [0.0, 0.05])
def test_parts_from_scipy_no_faster_than_scipy_from_itself(name: str, shape: str, damping: float) -> None:
    """At condition 20 of K itself rounding grows: the yardstick is SciPy on the same system with its rows permuted."""
    system = dense_system(shape, 20.0, damping)
    rng = np.random.default_rng(9)
    orders = [rng.permutation(len(system.b)) for _ in range(4)]
    permuted = [DenseSystem(system.K[rows], system.b[rows], damping) for rows in orders]
    for state in our_states(name, system, 20)[1:]:
        theirs = scipy_iterate(name, system, state.k)
        own = max(relative(scipy_iterate(name, one, state.k), theirs) for one in permuted)
        assert relative(flat(state.x), theirs) < max(1e-9, 30 * own), state.k


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("damping", [0.0, 0.05])
def test_ill_conditioned_runs_agree_in_residual_and_q(name: str, damping: float) -> None:
    """Past 8 steps at condition 1e3 rounding parts the iterates; the problem's own measures part far less."""
    system = dense_system("tall", 1e3**0.5, damping)
    slack = 100 if name == "minres" else 30  # its matrix changes less when the rows of K do
    rng, g = np.random.default_rng(9), flat(system.gradient)
    orders = [rng.permutation(len(system.b)) for _ in range(5)]
    permuted = [DenseSystem(system.K[rows], system.b[rows], damping) for rows in orders]

    def measures(x: Array) -> Array:
        return np.array([system.q(x), np.linalg.norm(system.A @ x + g)])

    for state in our_states(name, system, 30)[9:]:
        theirs = measures(scipy_iterate(name, system, state.k))
        own = np.max([np.abs(measures(scipy_iterate(name, one, state.k)) - theirs) for one in permuted], axis=0)
        allowed = np.maximum(1e-6 * np.abs(theirs), slack * own)
        assert (np.abs(measures(flat(state.x)) - theirs) <= allowed).all(), state.k


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("warm", [False, True])
def test_warm_start_and_preconditioner_keep_the_problem(
    name: str, shape: str, preconditioned: bool, warm: bool
) -> None:
    """They equal the dense solution of (A) x = -g: not SciPy's ridge around x0, which is another problem."""
    system = dense_system(shape, 20.0, 0.05)
    rng = np.random.default_rng(5)
    M = DiagonalFactor(np.diag(system.A) * rng.uniform(0.5, 2.0, 42)) if preconditioned else Unit()
    start = rng.standard_normal(42)
    x0 = blocks(start) if warm else None
    last = list(islice(SOLVERS[name].iterates(system, x0, M), 160))[-1]
    assert relative(flat(last.x), system.solution()) < 1e-9
    if warm:
        assert np.array_equal(flat(x0), start), "x0 must not be changed"


def test_scipys_warm_start_with_damping_is_another_problem() -> None:
    """Why the shift includes the damping block: SciPy's x0 with damp is a ridge around x0."""
    system = dense_system("tall", 20.0, 0.05)
    x0 = np.random.default_rng(6).standard_normal(42)
    theirs = lsmr(system.K, system.b, damp=0.05**0.5, x0=x0, atol=1e-14, btol=1e-14, maxiter=500)[0]
    assert relative(theirs, system.solution()) > 0.01


@pytest.mark.parametrize(("ours", "oracle"), [("lsqr", "cg"), ("lsmr", "minres")])
def test_least_squares_solvers_are_their_matrix_twins(ours: str, oracle: str) -> None:
    """LSQR on Ã is CG, and LSMR on Ã is MINRES, on (1)."""
    system = dense_system("tall", 8.0, 0.05)
    for state in our_states(ours, system, 15)[1:]:
        theirs = scipy_iterate(oracle, system, state.k)
        assert relative(flat(state.x), theirs) < 1e-8, state.k


@pytest.mark.parametrize("name", SOLVERS)
def test_preconditioned_iterates_equal_scipys_on_the_transformed_problem(name: str) -> None:
    system = dense_system("tall", 20.0**0.5, 0.0)
    m = np.random.default_rng(7).uniform(0.5, 2.0, 42)
    transformed = DenseSystem(system.K / np.sqrt(m), system.b)
    states = list(islice(SOLVERS[name].iterates(system, None, DiagonalFactor(m)), 13))
    for state in states[1:]:
        assert relative(flat(state.x), scipy_iterate(name, transformed, state.k) / np.sqrt(m)) < 1e-9, state.k
