"""The preconditioner nystrom: exact where the rank suffices, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.systems import flat, inputs_for, network, targets_for

from hfbench import HessianFree
from hfbench.curvature.linearisation import Linearisation
from hfbench.errors import ConfigError, NonFiniteError
from hfbench.inner_solve.solve import solve
from hfbench.inner_solve.system import GaussNewtonSystem
from hfbench.linalg.vector import Vector
from hfbench.solvers.cg import CG
from hfbench.solvers.dense import dense_matrix
from hfbench.solvers.preconditioners.identity import Unit
from hfbench.solvers.preconditioners.nystrom import Nystrom
from hfbench.solvers.stopping import Residual

DTYPE = torch.float64
SHIFTS = {"even": [0.01] * 4, "with decay": [0.03, 0.01, 0.03, 0.01]}


def linearised(cases: int, sizes: tuple[int, ...] = (4, 5, 3), layout: str = "structured") -> Linearisation:
    x, t = inputs_for(cases, sizes[0], 1), targets_for("least-squares", cases, sizes[-1], 2)
    return Linearisation(network(sizes, 0), "least-squares", x, t, layout=layout)


def draws(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def system_of(at: Linearisation, shifts: list[float]) -> GaussNewtonSystem:
    return GaussNewtonSystem(at, at.gradient, 0.0, tuple(shifts), shares_cases=True)


@pytest.mark.parametrize("shifts", SHIFTS)
@pytest.mark.parametrize("layout", ["structured", "flat"])
def test_it_is_the_matrix_where_the_rank_suffices(shifts: str, layout: str) -> None:
    """G of two cases and three outputs has rank six."""
    at = linearised(2, layout=layout)
    A = dense_matrix(system_of(at, SHIFTS[shifts]))
    M = Nystrom(rank=10).build(at, at.layout.spread(SHIFTS[shifts]), draws())
    for seed in range(3):
        v = torch.randn(len(A), generator=draws(seed), dtype=DTYPE)
        packed = at.layout.pack(Vector(v.split([20, 5, 15, 3])) if layout == "flat" else shaped(v, at))
        want = torch.linalg.solve(A, v)
        np.testing.assert_allclose(flat(M.solve(packed)), want.numpy(), rtol=1e-8, atol=1e-8)


def shaped(v: torch.Tensor, at: Linearisation) -> Vector:
    sizes = [block.numel() for block in at.blocks]
    return Vector(part.view(block.shape) for part, block in zip(v.split(sizes), at.blocks, strict=True))


@pytest.mark.parametrize("shifts", SHIFTS)
def test_the_factor_is_one_of_it(shifts: str) -> None:
    at = linearised(20)
    M = Nystrom(rank=5, most=5).build(at, SHIFTS[shifts], draws())
    v, u = (shaped(torch.randn(43, generator=draws(seed), dtype=DTYPE), at) for seed in (1, 2))
    np.testing.assert_allclose(flat(M.solve_factor_t(M.solve_factor(v))), flat(M.solve(v)), rtol=1e-10)
    assert M.solve_factor(v).dot(u) == pytest.approx(v.dot(M.solve_factor_t(u)), rel=1e-10)


def test_cg_takes_fewer_iterations_with_it() -> None:
    """Half of the rank does most of it: the eigenvalues of such a matrix fall fast."""
    at = linearised(60, (6, 12, 8, 4))
    system = GaussNewtonSystem(at, at.gradient, 1e-4, (0.0,) * 6, shares_cases=True)
    M = Nystrom(rank=40, most=80).build(at, [1e-4] * 6, draws())
    plain, low_rank = (
        solve(CG(), system, None, factor, [Residual(rtol=1e-8)], (), 2000).last.k for factor in (Unit(), M)
    )
    assert low_rank < plain / 3


def test_the_rank_doubles_until_the_rest_is_small() -> None:
    at = linearised(60, (6, 12, 8, 4))
    for tolerance, most, columns in ((1e12, 160, 5), (1e-12, 20, 20), (1e-12, 12, 12)):
        before = at.ledger.state_dict()
        Nystrom(rank=5, most=most, tolerance=tolerance).build(at, [1e-3] * 6, draws())
        counted = at.ledger.since(before)
        assert counted["jvp_calls"] == counted["vjp_calls"] == columns, "each column is multiplied once"
        ranks = {5: [5], 20: [5, 10, 20], 12: [5, 10, 12]}[columns]
        assert counted["algebra"] == sum(6 * k * k for k in ranks)


def test_a_rank_above_the_number_of_parameters_is_that_number() -> None:
    at = linearised(60)
    A = dense_matrix(system_of(at, [0.01] * 4))
    M = Nystrom(rank=100, most=200).build(at, [0.01] * 4, draws())
    v = torch.randn(43, generator=draws(5), dtype=DTYPE)
    np.testing.assert_allclose(flat(M.solve(shaped(v, at))), torch.linalg.solve(A, v).numpy(), rtol=1e-6)


def test_it_is_kept_for_some_steps_and_follows_the_damping() -> None:
    at = linearised(2)
    kept = Nystrom(rank=10, refresh=3).begin(at.model)
    generator, products = draws(), []
    for damping in (0.1, 0.01, 0.001, 0.001):
        before = at.ledger.products
        M = kept.build(at, [damping] * 4, generator)
        products.append(at.ledger.products - before)
        A = dense_matrix(system_of(at, [damping] * 4))
        v = torch.randn(43, generator=draws(5), dtype=DTYPE)
        np.testing.assert_allclose(flat(M.solve(shaped(v, at))), torch.linalg.solve(A, v).numpy(), rtol=1e-6)
    assert products == [10, 0, 0, 10]


def test_a_saved_state_goes_on() -> None:
    at, v = linearised(9), shaped(torch.randn(43, generator=draws(5), dtype=DTYPE), linearised(9))
    first = Nystrom(rank=5, most=5, refresh=2).begin(at.model)
    first.build(at, [0.1] * 4, draws())
    state = first.state_dict()
    second = Nystrom(rank=5, most=5, refresh=2).begin(at.model)
    second.load_state_dict(state)
    one, other = (kept.build(at, [0.1] * 4, draws(9)).solve(v) for kept in (first, second))
    assert np.array_equal(flat(one), flat(other))
    assert second.steps == 2
    second.load_state_dict({})
    assert second.state_dict() == {}


def test_other_states_are_refused_and_nothing_is_loaded() -> None:
    at = linearised(9)
    kept = Nystrom(rank=5, most=5).begin(at.model)
    kept.build(at, [0.1] * 4, draws())
    good = kept.state_dict()
    shape = "^the state of nystrom must have steps, U, eigenvalues, but has "
    for change, wanted in (
        ({"U": 1}, shape),
        ({"steps": -1}, shape),
        ({"eigenvalues": good["eigenvalues"][:2]}, shape),
        ({"more": 1}, shape),
        ({"U": good["U"][:7]}, "must be for 43 parameters, but is for 7: it is of another model"),
    ):
        with pytest.raises(ConfigError, match=wanted):
            kept.load_state_dict(good | change)
    assert kept.steps == 1


def test_it_needs_a_positive_damping() -> None:
    at = linearised(9)
    with pytest.raises(NonFiniteError, match="needs a positive damping, but mu \\+ lambda is 0 for some parameters"):
        Nystrom().build(at, [0.1, 0.0, 0.1, 0.1], draws())


def test_products_that_are_not_finite_are_refused() -> None:
    at = linearised(9)
    at.gauss_newton_columns = lambda V: [v * float("nan") for v in V]  # type: ignore[method-assign]
    with pytest.raises(NonFiniteError, match="^products with the Gauss-Newton matrix must be finite"):
        Nystrom().build(at, [0.1] * 4, draws())


def test_the_largest_rank_is_no_less_than_the_first() -> None:
    with pytest.raises(ConfigError, match="^most: must be at least rank, 20, but is 10.$"):
        Nystrom(most=10)


@pytest.mark.parametrize("solver", ["cg", "lsmr", "lsqr"])
def test_steps_descend_in_float32(solver: str) -> None:
    model = network((6, 12, 4), 0, torch.float32)
    x = inputs_for(80, 6, 1, torch.float32)
    t = targets_for("least-squares", 80, 4, 2, torch.float32)
    optimizer = HessianFree(model, "least-squares", solver=solver, preconditioner={"use": "nystrom", "refresh": 2})
    results = [optimizer.step(x, t) for _ in range(4)]
    assert results[-1].objective_after is not None
    assert results[-1].objective_after < results[0].objective_before
