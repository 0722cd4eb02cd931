"""The identity leaves every vector as it is."""

from __future__ import annotations

import torch
from support.systems import inputs_for, network, targets_for

from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.work_ledger import Ledger
from hfbench.solvers.preconditioners.identity import Identity


def test_it_is_the_identity_and_costs_nothing() -> None:
    ledger = Ledger()
    x, t = inputs_for(8, 4, 1), targets_for("logistic", 8, 3, 2)
    linearisation = Linearisation(network((4, 5, 3), 0), "logistic", x, t, ledger=ledger)
    v, before = linearisation.gradient, ledger.work
    built = Identity().build(linearisation, (0.1,) * len(v), torch.Generator())
    for solved in (built.solve(v), built.solve_factor(v), built.solve_factor_t(v)):
        assert solved is v
    assert ledger.work == before
