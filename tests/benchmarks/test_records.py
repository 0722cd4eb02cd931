"""Rows of `overhead` and `thousand`, on few steps and runs."""

from __future__ import annotations

import pytest
from support.tiny_study import uses_mlflow

from benchmarks import overhead, thousand
from benchmarks.runner import Options

QUICK = Options(threads=1, quick=True)


@uses_mlflow
@pytest.mark.usefixtures("own_store")
def test_records_of_a_run_are_timed_by_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead, "COMMANDS", {"python -c pass": ["-c", "pass"]})
    found = {(row["of"], row["what"]): row for row in overhead.rows(QUICK)}
    assert float(found["start-up", "python -c pass"]["wall"] or 0) > 1
    kinds = {what: row for (of, what), row in found.items() if of == "curves-small"}
    assert {"log_run", "finish", "create"} <= kinds.keys()
    assert kinds["the steps"]["calls"] == 10
    parts = [float(row["wall"] or 0) for what, row in kinds.items() if what not in ("all records", "the steps")]
    assert float(kinds["all records"]["wall"] or 0) == pytest.approx(sum(parts))


def test_calls_within_calls_count_once() -> None:
    spent = overhead.Spent()
    inner = spent.wrapped("inner", lambda: None)
    spent.wrapped("outer", inner)()
    assert dict(spent.calls) == {"outer": 1}


def test_what_is_replaced_is_put_back_after_a_failure() -> None:
    class Owner:
        name = "old"

    def fails() -> None:
        with overhead.replaced([(Owner, "name", "new")]):
            raise RuntimeError(Owner.name)

    with pytest.raises(RuntimeError, match="new"):
        fails()
    assert Owner.name == "old"


@uses_mlflow
@pytest.mark.slow
@pytest.mark.usefixtures("own_store")
def test_finished_runs_are_written_read_judged_and_logged() -> None:
    found = {str(row["what"]): row for row in thousand.rows(QUICK)}
    assert {row["runs"] for row in found.values()} == {14}
    assert float(found["MLflow's store"]["size"] or 0) > 0
    assert all(float(row["wall"] or 0) > 0 for what, row in found.items() if what != "MLflow's store")
