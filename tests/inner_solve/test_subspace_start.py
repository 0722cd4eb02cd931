"""Start at the minimiser over preconditioned gradient and warm start: that of the solver, and what a solve gains."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from support.systems import inputs_for, network, targets_for

from hfbench import HessianFree
from hfbench.curvature.linearisation import Linearisation
from hfbench.inner_solve.subspace_start import subspace_start
from hfbench.inner_solve.system import GaussNewtonSystem
from hfbench.linalg.vector import Vector
from hfbench.solvers.preconditioners.kfac import KFAC
from hfbench.solvers.subspace import Subspace


def system_of(layout: str = "structured") -> GaussNewtonSystem:
    model, x, t = network((5, 4, 3), 0), inputs_for(9, 5, 1), targets_for("logistic", 9, 3, 2)
    at = Linearisation(model, "logistic", x, t, layout=layout)
    return GaussNewtonSystem(at, at.gradient, 0.1, (0.0,) * 4, shares_cases=True)


def q(system: GaussNewtonSystem, x: Vector) -> float:
    return 0.5 * x.dot(system.multiply(x)) + x.dot(system.gradient)


@pytest.mark.parametrize("layout", ["structured", "flat"])
@pytest.mark.parametrize("warm", [False, True])
def test_it_is_one_step_of_the_solver(warm: bool, layout: str) -> None:
    system = system_of(layout)
    M = KFAC().build(system.linearisation, system.shift, torch.Generator().manual_seed(0))
    x0 = system.gradient * -0.3 if warm else None
    start = subspace_start(system, M, x0)
    assert start is not None
    _, first = islice(Subspace().iterates(system, x0, M), 2)
    for ours, theirs in zip(start, first.x, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert q(system, start) < min(0.0, q(system, x0) if x0 is not None else 0.0)


def test_what_is_not_finite_leaves_the_warm_start() -> None:
    system = system_of()
    M = KFAC().build(system.linearisation, system.shift, torch.Generator().manual_seed(0))
    x0 = system.gradient * float("inf")
    assert subspace_start(system, M, x0) is x0


@pytest.mark.parametrize("solver", ["cg", "lsmr", "lsqr", "minres"])
def test_solvers_go_on_from_it(solver: str) -> None:
    """With the same inner iterations the second step, which has a warm start to improve, comes to a lower q."""
    x, t = inputs_for(40, 5, 1), targets_for("logistic", 40, 3, 2)

    def qs(start: bool) -> list[float]:
        settings = {"subspace_start": start, "backtracking": False, "initial_damping": 1.0}
        optimizer = HessianFree(
            network((5, 8, 3), 0), "logistic", solver=solver, preconditioner="kfac", rules=[], max_inner=2,
            globalization=settings, seed=0,
        )  # fmt: skip
        return [optimizer.step(x, t).q for _ in range(2)]

    plain, started = qs(False), qs(True)
    assert started[0] < plain[0]
    assert started != plain


def test_it_costs_a_sweep_of_tangents_and_a_solve() -> None:
    system = system_of()
    M = KFAC().build(system.linearisation, system.shift, torch.Generator().manual_seed(0))
    ledger = system.linearisation.ledger
    before = ledger.products
    subspace_start(system, M, system.gradient)
    sweep = system.span([system.gradient, system.gradient], "layers").products
    assert ledger.products - before == 2 * sweep
