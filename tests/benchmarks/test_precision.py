"""Rows of `precision` and `attainable`, on small problems."""

from __future__ import annotations

import pytest

from benchmarks import attainable, precision
from benchmarks.runner import Options

QUICK = Options(threads=1, quick=True)


@pytest.mark.parametrize("task", ["usps", "mnist-conv", "addition"])
def test_precision_orders_the_dtypes_by_their_rounding(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "TASKS", (task,))
    monkeypatch.setattr(precision, "FEW", (10,))
    rows = list(precision.rows(QUICK))
    assert [row["precision"] for row in rows] == precision.precisions()
    assert {tuple(row) for row in rows} == {tuple(precision.COLUMNS)}
    of = {row["precision"]: row for row in rows}
    assert float(of["float64"]["error"] or 0) < 1e-7, "results are rounded to float32"
    assert float(of["float32"]["error"] or 0) < 1e-5
    assert float(of["float32"]["gap"] or 0) < 1e-6
    if "bfloat16" in of:
        assert 1e-4 < float(of["bfloat16"]["error"] or 0) < 0.1
        assert float(of["bfloat16"]["gap"] or 0) < 0.01


def test_attainable_judges_every_solver_by_the_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attainable, "QUICK", {"cases": 20, "steps": 1, "most": 6})
    monkeypatch.setattr(attainable, "TASKS", ("curves-small",))
    rows = list(attainable.rows(QUICK))
    assert {tuple(row) for row in rows} == {tuple(attainable.COLUMNS)}
    assert len(rows) == len(attainable.SOLVERS) * (1 + len(precision.precisions()))
    for row in rows:
        assert 0 < float(row["attained"] or 0) < 1
        assert 4 <= int(row["at"] or 0) <= int(row["iterations"] or 0) == 6, "residuals of CG go up and down"
        if row["precision"] in ("exact", "float64", "float32"):
            assert float(row["q"] or 0) == pytest.approx(1, abs=1e-4)
