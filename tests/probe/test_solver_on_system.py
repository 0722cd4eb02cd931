"""Solvers on frozen systems: what is told of an iterate against dense algebra, float64, and the runs themselves."""

from __future__ import annotations

import io
import json
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from support.systems import DenseSystem, DiagonalFactor, dense_system
from support.tiny_study import attempt, specs, tiny, trace_of

from hfbench import registry
from hfbench.commands.probe_solvers import probe_solvers
from hfbench.curvature.objective import objective
from hfbench.errors import ConfigError
from hfbench.inner_solve.solve import solve
from hfbench.linalg.lanczos import ritz_values
from hfbench.linalg.vector import Vector
from hfbench.parts.protocols import Stop
from hfbench.probe.freeze import frozen_systems
from hfbench.probe.frozen_system import FrozenSystem
from hfbench.probe.judge import REACHED, Judge
from hfbench.probe.orthogonality import Basis, WatchedFactor
from hfbench.probe.pairwise import paired, ratios
from hfbench.probe.solver_on_system import Arm, Solve, arms_of, follow, grid

CG, LSQR, LSMR, MINRES = (Arm(name, "martens") for name in ("cg", "lsqr", "lsmr", "minres"))


@cache
def frozen(method: str = "hf") -> FrozenSystem:
    folder = Path(tempfile.mkdtemp(prefix="hfbench-probe-"))
    return next(frozen_systems(specs(tiny(folder, "study.stop_at_target=false"))[method, 0], [3]))


@cache
def judge(factor: float = 1.0) -> Judge:
    made = Judge(frozen().damped(factor))
    made.solve_exactly(2000)
    return made


# ---------------------------------------------------------------- eigenvalues and bases


def test_ritz_values_are_eigenvalues_once_the_space_is_whole() -> None:
    system = dense_system("tall", 1e3, 1e-2)
    expected = np.linalg.eigvalsh(system.A)
    found = ritz_values(system.multiply, system.gradient, len(expected) + 5)
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)
    few = ritz_values(system.multiply, system.gradient, 4)
    assert expected[0] <= few[0]
    assert few[-1] <= expected[-1] * (1 + 1e-12)


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


# ---------------------------------------------------------------- the judge


def test_the_exact_solution_solves_the_system() -> None:
    exact = judge().exact
    assert exact is not None
    assert exact.reached
    residual = judge().system.multiply(exact.x) + judge().g
    assert residual.norm() <= REACHED * judge().b_norm
    assert exact.q == pytest.approx(0.5 * judge().g.dot(exact.x), rel=1e-10)


def test_a_solution_that_cannot_be_reached_says_so() -> None:
    one = Judge(frozen().damped(1e-6))
    exact = one.solve_exactly(10)
    assert not exact.reached
    assert exact.residual > REACHED
    best = Judge(frozen().damped(1e-6)).solve_exactly(20_000)
    assert 0 < exact.q - best.q <= exact.slack * -exact.q
    assert f"1e-12 could not be reached; q* is at most {exact.slack:.0e} |q| lower" in exact.told
    assert (one.system.multiply(exact.x) + one.g).norm() == pytest.approx(exact.residual * one.b_norm, rel=1e-6)


def test_what_an_iterate_is_worth_agrees_with_its_definition() -> None:
    one, opened = judge(), frozen().open()
    posed, _ = opened.system_at()
    x = Vector(0.3 * block.float() for block in one.exact.x)
    found = one.look(x, posed.preconditioner)
    x64 = Vector(block.double() for block in x)
    Ax = one.system.multiply(x64)
    r = -one.g - Ax
    assert found["q_exact"] == pytest.approx(one.g.dot(x64) + 0.5 * x64.dot(Ax), rel=1e-10)
    assert found["residual"] == pytest.approx(r.norm() / one.b_norm, rel=1e-9)
    d = x64 - one.exact.x
    energy = d.dot(one.system.multiply(d)) / one.exact.x.dot(one.system.multiply(one.exact.x))
    assert found["gap"] == pytest.approx(energy, rel=1e-6)
    assert found["gap"] == pytest.approx(0.49, rel=1e-4)  # (1 - 0.3)²
    assert found["distance"] == pytest.approx(0.7, rel=1e-5)
    own = Vector(block.float() for block in r)
    preconditioned = own.dot(posed.preconditioner.solve(own)) ** 0.5
    assert found["residual_preconditioned"] == pytest.approx(preconditioned, rel=1e-5)
    rest = one.f - one.system.forward(x64)
    largest = float(ritz_values(one.system.multiply, one.g, 40)[-1]) ** 0.5
    assert found["backward_error"] == pytest.approx(r.norm() / (largest * rest.norm()), rel=1e-3)


def test_the_change_of_f_is_that_of_the_model_with_its_weights_moved() -> None:
    one = judge()
    opened = frozen().open(precision="float64")
    step = Vector(0.5 * block for block in one.exact.x)
    found = one.look(step, opened.system_at()[0].preconditioner)

    def values() -> dict[str, float]:
        splits = {name: getattr(opened.data, name) for name in ("train", "validation", "test")}
        mu_D = opened.optimizer.mu_D
        return {
            name: objective(opened.model, opened.task.loss, split.inputs, split.targets, mu_D)
            for name, split in splits.items()
        }

    before = values()
    with torch.no_grad():
        for parameter, block in zip(opened.model.parameters(), step, strict=True):
            parameter += block
    for name, after in values().items():
        assert found[f"change_{name}"] == pytest.approx(after - before[name], rel=1e-9)
        assert found[f"change_{name}"] < 0


@pytest.mark.parametrize("arm", [CG, LSQR, LSMR, MINRES])
def test_tracked_quantities_agree_with_float64(arm: Arm) -> None:
    """The issue's bounds: 1e-3 in float32 at lambda = 1e-4; here also how the residual does."""
    factor = 1e-4 / frozen().met
    one = Judge(frozen().damped(factor))
    solve = follow(frozen().damped(factor), one, arm, 40)
    for row in solve.rows[1:]:
        assert row["q"] == pytest.approx(row["q_exact"], rel=1e-3)


@pytest.mark.parametrize("name", ["cg", "lsqr", "lsmr", "minres"])
def test_in_float64_they_agree_to_ten_digits(name: str) -> None:
    one = judge()
    opened = frozen().open(precision="float64", solver={"use": name}, rules=())
    posed, warm = opened.system_at()
    told: list[tuple[float, float]] = []
    solve(
        opened.optimizer.solver,
        posed.system,
        warm,
        posed.preconditioner,
        [],
        [lambda state: told.append((state.q, one.look(state.x, posed.preconditioner)["q_exact"]))],
        15,
    )
    for tracked, exact in told[1:]:
        assert tracked == pytest.approx(exact, rel=1e-10)


# ---------------------------------------------------------------- a solver on a system


def test_the_path_is_that_of_the_run(tmp_path: Path) -> None:
    """The run's own rule stops where the probe says, with the run's own q."""
    spec = specs(tiny(tmp_path, "study.stop_at_target=false"))["hf", 0]
    attempt(spec, tmp_path)
    recorded = trace_of(spec, tmp_path).iloc[3]
    found = follow(frozen(), judge(), CG, 60)
    assert found.stops["relative-progress"] == recorded["inner_iterations"]
    if recorded["chosen_iterate"] == recorded["inner_iterations"]:
        assert found.stopped("relative-progress")["q"] == recorded["q"]


def test_every_solve_is_judged_at_the_grid_and_at_its_stops() -> None:
    found = follow(frozen(), judge(), LSMR, 30)
    ks = [row["k"] for row in found.rows]
    assert ks == sorted(set(ks))
    assert set(grid(30)) <= set(ks)
    assert set(found.stops.values()) <= set(ks)
    assert set(found.stops) == {"relative-progress", "residual", "backward-error"}
    assert grid(30) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 18, 22, 26]


def test_a_rule_says_stop_where_it_would_have_ended_the_solve() -> None:
    found = follow(frozen(), judge(), LSQR, 40)
    for name, k in found.stops.items():
        opened = frozen().open(solver={"use": "lsqr"}, rules=({"use": name},))
        posed, warm = opened.system_at()
        ended = solve(opened.optimizer.solver, posed.system, warm, posed.preconditioner, opened.optimizer.rules, (), 40)
        assert (ended.last.k, ended.stop) == (k, Stop[name.replace("-", "_").upper()])


def test_starts_products_and_right_hand_sides_are_those_asked_for() -> None:
    zero = follow(frozen(), judge(), Arm("cg", "martens", start="zero"), 2)
    assert zero.rows[0]["q_exact"] == 0
    warm = follow(frozen(), judge(), CG, 2)
    assert warm.rows[0]["q_exact"] != 0
    before = follow(frozen(), judge(), Arm("cg", "martens", start="previous"), 2)
    assert before.rows[0]["q_exact"] not in (0, warm.rows[0]["q_exact"])
    first = next(frozen_systems(frozen().spec, [1]))
    with pytest.raises(ConfigError, match="--start previous: there was no step before the first system"):
        follow(first, judge(), Arm("cg", "martens", start="previous"), 2)
    damping = follow(frozen("shf"), Judge(frozen("shf")), Arm("lsmr", "martens", right_hand_side="damping"), 5)
    other = follow(frozen("shf"), Judge(frozen("shf")), Arm("lsmr", "martens", right_hand_side="auto"), 5)
    assert damping.rows[5]["q"] == pytest.approx(other.rows[5]["q"], rel=1e-3)


def test_solvers_end_at_the_exact_solution() -> None:
    for arm in (CG, LSQR, LSMR, MINRES):
        found = follow(frozen(), judge(), arm, 150)
        assert found.rows[-1]["gap"] < 1e-6
        assert found.rows[-1]["distance"] < 1e-2


# ---------------------------------------------------------------- verdicts


def planted(values: list[float], name: str) -> list[Solve]:
    arm = Arm(name, "identity")
    rows = [{"residual": value, "gap": value, "f_train": 1 / value, "f_test": 0.0} for value in values]
    return [Solve(f"s{i}", f"s{i}", 1.0, arm, [{"k": 10, **row}]) for i, row in enumerate(rows)]


def test_a_planted_ratio_is_found_and_judged() -> None:
    a = planted([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0], "cg")
    b = planted([0.5 * value for value in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0)], "lsmr")
    found = {(one.measure, one.k): one for one in ratios(a, b)}
    residual, f = found["residual", 10], found["f_train", 10]
    assert (residual.ratio, f.ratio) == (pytest.approx(0.5), pytest.approx(2.0))
    assert (residual.verdict, f.verdict) == ("better", "worse")
    assert residual.p == pytest.approx(2 / 2**10)
    assert residual.p_holm == pytest.approx(3 * 2 / 2**10)
    assert ("f_test", 10) not in found  # zero in all of them: there is no ratio


def test_few_systems_and_mixed_signs_show_nothing() -> None:
    few = ratios(planted([1.0, 2.0], "cg"), planted([2.0, 4.0], "lsmr"))
    assert {one.verdict for one in few} == {"needs 6"}
    mixed = ratios(planted([1.0] * 8, "cg"), planted([2.0, 0.5] * 4, "lsmr"))
    assert {one.verdict for one in mixed} == {"not shown"}


def test_systems_that_both_have_solved_are_left_out() -> None:
    a, b = planted([1.0] * 8, "cg"), planted([0.5] * 8, "lsmr")
    for one in (a[0], b[0], a[1]):
        one.rows[0]["gap"] = 1e-9
    found = {one.measure: one for one in ratios(a, b)}
    assert (found["residual"].n, found["gap"].n) == (7, 7)
    assert paired(a[0], b[0], "residual") == {}
    assert paired(a[1], b[1], "residual") == {10: (1.0, 0.5)}


def test_a_name_that_is_unknown_is_refused() -> None:
    assert len(arms_of(["cg", "lsmr"], ["identity"], ["parameters", "float64"], ["auto"], ["warm"])) == 4
    with pytest.raises(
        ConfigError, match=r"--start: must be among warm, zero, previous, but got 'wram' \(did you mean"
    ):
        arms_of(["cg"], ["identity"], ["parameters"], ["auto"], ["wram"])


def probed(into: Path, *arms: Arm, width: int = 80) -> str:
    screen = io.StringIO()
    status = probe_solvers([frozen(), frozen().damped(0.01)], arms, 30, 300, into, Console(file=screen, width=width))
    assert status == 0
    return screen.getvalue()


def test_a_probe_prints_tables_of_80_columns_and_writes_what_it_found(tmp_path: Path) -> None:
    text = probed(tmp_path, Arm("cg", "chapelle-erhan"), Arm("lsmr", "chapelle-erhan"), Arm("dense", "identity"))
    lines = text.splitlines()
    assert max(len(line) for line in lines if not line.startswith(("skipped", "exact", str(tmp_path)))) <= 80
    assert "skipped: dense identity: most: the dense solver takes at most 2000 parameters" in text
    assert "lsmr chapelle-erhan over cg chapelle-erhan" in text
    rows = pd.read_parquet(tmp_path / "solvers.parquet")
    assert set(rows["solver"]) == {"cg", "lsmr"}
    assert rows["change_train"].notna().all()
    told = json.loads((tmp_path / "solvers.json").read_text())
    assert set(told["systems"]) == {"hf-tiny-curves-s0-i3", "hf-tiny-curves-s0-i3-lambda-x0.01"}
    assert (tmp_path / "solvers-hf-tiny-curves-s0-i3.png").stat().st_size > 10_000
    assert (tmp_path / "duels.png").stat().st_size > 5_000


def test_if_every_solver_refuses_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no solver took any of the systems"):
        probed(tmp_path, Arm("dense", "identity"))
