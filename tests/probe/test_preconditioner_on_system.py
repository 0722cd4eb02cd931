"""Preconditioners on frozen systems: their spectra against dense algebra, and what it costs to build them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import pytest
from support.frozen_steps import zoo

from hfbench.linalg.vector import Vector
from hfbench.probe import preconditioner_on_system
from hfbench.probe.judge import Judge
from hfbench.probe.preconditioner_on_system import Variant, conditioned, units


@cache
def judge() -> Judge:
    made = Judge(zoo()[1])
    made.solve_exactly(2000)
    return made


def plain(name: str) -> Variant:
    return Variant((("use", name),))


def tried(name: str, most: int = 400) -> dict:
    return conditioned(judge(), plain(name), judge().opened, "cg", most)


def test_without_preconditioner_the_ends_of_the_spectrum_are_lambda_and_the_norm() -> None:
    found = tried("identity")
    mu = min(judge().opened.optimizer.mu_D)
    assert found["smallest"] >= (zoo()[1].damping + mu) * (1 - 1e-9)
    assert found["largest"] == pytest.approx(judge().norm ** 2, rel=1e-6)
    assert found["condition"] == pytest.approx(found["largest"] / found["smallest"])
    assert found["build"] == 0


def test_with_the_exact_diagonal_one_lies_within_the_spectrum() -> None:
    """Every diagonal entry of E⁻¹AE⁻ᵀ is 1, so that 1 lies between its eigenvalues."""
    found = tried("exact-diagonal")
    assert 0 < found["smallest"] <= 1 <= found["largest"]


def test_build_costs_are_those_of_the_ledger() -> None:
    assert tried("martens")["build"] == 2
    assert tried("chapelle-erhan")["build"] == 2
    four = Variant((("use", "chapelle-erhan"), ("probes", 4)), "probes", 4.0)
    assert conditioned(judge(), four, judge().opened, "cg", 50)["build"] == 8
    assert tried("kfac")["build"] > 2


def test_iterations_to_accuracy_are_in_order_and_as_many_as_the_solver_takes() -> None:
    found = tried("martens")
    ks = [found["to_0.1"], found["to_0.01"], found["to_0.0001"]]
    assert ks == sorted(ks)
    assert all(k > 0 for k in ks)
    assert units(found, 1e-2) == found["build"] + 4 * found["to_0.01"]
    assert tried("identity", 1)["to_0.0001"] is None
    assert units(tried("identity", 1), 1e-4) is None


def test_an_exact_preconditioner_needs_one_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    """M⁻¹ = A⁻¹ along g, by the exact solution."""

    @dataclass
    class Exact:
        cases: ClassVar[str] = "curvature"

        def build(self, linearisation, shift, generator):
            return self

        def solve(self, v: Vector) -> Vector:  # A⁻¹v is known for v = -g alone
            return judge().exact.x * (v.dot(judge().g) / -judge().g.dot(judge().g))

        solve_factor = solve_factor_t = lambda self, v: v

    from hfbench import registry

    build, known = registry.build, judge()  # made with the parts as they are
    monkeypatch.setattr(
        preconditioner_on_system.registry,
        "build",
        lambda family, *rest: Exact() if family == "preconditioner" else build(family, *rest),
    )
    found = conditioned(known, plain("identity"), known.opened, "cg", 3)
    assert found["to_0.0001"] == 1


def test_it_is_built_with_the_systems_damping_and_decay(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    class Noted:
        cases = "curvature"

        def build(self, linearisation, shift, generator):
            given.append(shift)

    judged = judge()  # before the registry is replaced: its systems may have to be made
    monkeypatch.setattr(preconditioner_on_system.registry, "build", lambda *of: Noted())
    preconditioner_on_system._built(judged, plain("noted"), judged.opened)
    decays = judge().opened.optimizer.mu_D
    assert len(set(decays)) == 2, "weights decay and biases do not"
    assert given == [tuple(mu + judge().system.damping for mu in decays)]
