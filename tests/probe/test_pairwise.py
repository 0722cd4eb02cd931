"""Two solvers after equally many iterations: ratios that were planted, and what shows nothing."""

from __future__ import annotations

import pytest

from hfbench.probe.pairwise import paired, ratios_of_solves
from hfbench.probe.solver_on_system import Arm, Solve


def planted(values: list[float], name: str) -> list[Solve]:
    arm = Arm(name, "identity")
    rows = [{"residual": value, "gap": value, "f_train": 1 / value, "f_test": 0.0} for value in values]
    return [Solve(f"s{i}", f"s{i}", 1.0, arm, [{"k": 10, **row}]) for i, row in enumerate(rows)]


def test_a_planted_ratio_is_found_and_judged() -> None:
    a = planted([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0], "cg")
    b = planted([0.5 * value for value in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0)], "lsmr")
    found = {(one.measure, one.k): one for one in ratios_of_solves(a, b)}
    residual, f = found["residual", 10], found["f_train", 10]
    assert (residual.ratio, f.ratio) == (pytest.approx(0.5), pytest.approx(2.0))
    assert (residual.verdict, f.verdict) == ("better", "worse")
    assert residual.p == pytest.approx(2 / 2**10)
    assert residual.p_holm == pytest.approx(3 * 2 / 2**10)
    assert ("f_test", 10) not in found  # zero in all of them: there is no ratio


def test_few_systems_and_mixed_signs_show_nothing() -> None:
    few = ratios_of_solves(planted([1.0, 2.0], "cg"), planted([2.0, 4.0], "lsmr"))
    assert {one.verdict for one in few} == {"needs 6"}
    mixed = ratios_of_solves(planted([1.0] * 8, "cg"), planted([2.0, 0.5] * 4, "lsmr"))
    assert {one.verdict for one in mixed} == {"not shown"}


def test_systems_that_both_have_solved_are_left_out() -> None:
    a, b = planted([1.0] * 8, "cg"), planted([0.5] * 8, "lsmr")
    for one in (a[0], b[0], a[1]):
        one.rows[0]["gap"] = 1e-9
    found = {one.measure: one for one in ratios_of_solves(a, b)}
    assert (found["residual"].n, found["gap"].n) == (7, 7)
    assert paired(a[0], b[0], "residual") == {}
    assert paired(a[1], b[1], "residual") == {10: (1.0, 0.5)}
