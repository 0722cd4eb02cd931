"""Solvers on frozen systems: tracked quantities, stops and starts against float64 and the runs themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.frozen import frozen, judge
from support.tiny_study import attempt, specs, tiny, trace_of

from hfbench.errors import ConfigError
from hfbench.inner_solve.solve import solve
from hfbench.parts.protocols import Stop
from hfbench.probe.freeze import frozen_systems
from hfbench.probe.judge import Judge
from hfbench.probe.solver_on_system import Arm, arms_of, judged_iterations, solve_and_judge

CG, LSQR, LSMR, MINRES = (Arm(name, "martens") for name in ("cg", "lsqr", "lsmr", "minres"))


# ---------------------------------------------------------------- the judge


@pytest.mark.parametrize("arm", [CG, LSQR, LSMR, MINRES])
def test_tracked_quantities_agree_with_float64(arm: Arm) -> None:
    """The issue's bounds: 1e-3 in float32 at lambda = 1e-4; here also how the residual does."""
    factor = 1e-4 / frozen().met
    one = Judge(frozen().damped(factor))
    solve = solve_and_judge(frozen().damped(factor), one, arm, 40)
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
    found = solve_and_judge(frozen(), judge(), CG, 60)
    assert found.stops["relative-progress"] == recorded["inner_iterations"]
    if recorded["chosen_iterate"] == recorded["inner_iterations"]:
        assert found.stopped("relative-progress")["q"] == recorded["q"]


def test_every_solve_is_judged_at_the_grid_and_at_its_stops() -> None:
    found = solve_and_judge(frozen(), judge(), LSMR, 30)
    ks = [row["k"] for row in found.rows]
    assert ks == sorted(set(ks))
    assert set(judged_iterations(30)) <= set(ks)
    assert set(found.stops.values()) <= set(ks)
    assert set(found.stops) == {"relative-progress", "residual", "backward-error"}
    assert judged_iterations(30) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 18, 22, 26]


def test_a_rule_says_stop_where_it_would_have_ended_the_solve() -> None:
    found = solve_and_judge(frozen(), judge(), LSQR, 40)
    for name, k in found.stops.items():
        opened = frozen().open(solver={"use": "lsqr"}, rules=({"use": name},))
        posed, warm = opened.system_at()
        ended = solve(opened.optimizer.solver, posed.system, warm, posed.preconditioner, opened.optimizer.rules, (), 40)
        assert (ended.last.k, ended.stop) == (k, Stop[name.replace("-", "_").upper()])


def test_starts_products_and_right_hand_sides_are_those_asked_for() -> None:
    zero = solve_and_judge(frozen(), judge(), Arm("cg", "martens", start="zero"), 2)
    assert zero.rows[0]["q_exact"] == 0
    warm = solve_and_judge(frozen(), judge(), CG, 2)
    assert warm.rows[0]["q_exact"] != 0
    before = solve_and_judge(frozen(), judge(), Arm("cg", "martens", start="previous"), 2)
    assert before.rows[0]["q_exact"] not in (0, warm.rows[0]["q_exact"])
    first = next(frozen_systems(frozen().spec, [1]))
    with pytest.raises(ConfigError, match="--start previous: there was no step before the first system"):
        solve_and_judge(first, judge(), Arm("cg", "martens", start="previous"), 2)
    damping = solve_and_judge(frozen("shf"), Judge(frozen("shf")), Arm("lsmr", "martens", right_hand_side="damping"), 5)
    other = solve_and_judge(frozen("shf"), Judge(frozen("shf")), Arm("lsmr", "martens", right_hand_side="auto"), 5)
    assert damping.rows[5]["q"] == pytest.approx(other.rows[5]["q"], rel=1e-3)


def test_solvers_end_at_the_exact_solution() -> None:
    for arm in (CG, LSQR, LSMR, MINRES):
        found = solve_and_judge(frozen(), judge(), arm, 150)
        assert found.rows[-1]["gap"] < 1e-6
        assert found.rows[-1]["distance"] < 1e-2


# ---------------------------------------------------------------- verdicts


def test_a_name_that_is_unknown_is_refused() -> None:
    assert len(arms_of(["cg", "lsmr"], ["identity"], ["parameters", "float64"], ["auto"], ["warm"])) == 4
    with pytest.raises(
        ConfigError, match=r"--start: must be among warm, zero, previous, but got 'wram' \(did you mean"
    ):
        arms_of(["cg"], ["identity"], ["parameters"], ["auto"], ["wram"])
