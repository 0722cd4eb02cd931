"""Trace files: one that is not the run's is found, whatever it is of."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.made_records import result_of, rows_of
from support.tiny_study import specs, tiny

from hfbench.errors import StoreError
from hfbench.records.trace import COLUMNS, arrow_table
from hfbench.records.trace_file import check_trace, read_trace, trace_bytes

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return specs(tiny(tmp_path_factory.mktemp("study")))["hf", 0]


def test_a_trace_is_read_as_it_was_written(run: Any) -> None:
    table = arrow_table(rows_of(run))
    again = read_trace(trace_bytes(table), "trace.parquet")
    assert again.equals(table)
    assert read_trace(trace_bytes(table), columns=["test_error"]).column_names == ["test_error"]
    check_trace(again, result_of(run, "k", rows_of(run), "tiny"), run.config())


def test_columns_of_later_versions_are_null_and_foreign_ones_refused(tmp_path: Path, run: Any) -> None:
    table, file = arrow_table(rows_of(run)), tmp_path / "trace.parquet"
    pq.write_table(table.drop_columns(["variance_inner"]), file)
    assert read_trace(file).column_names == list(COLUMNS)
    assert read_trace(file)["variance_inner"].null_count == len(table)
    for other in (
        table.append_column("more", pa.nulls(len(table))),
        table.set_column(2, "work", table["iteration"]),
        table.append_column("work", table["work"]),
    ):
        pq.write_table(other, file)
        with pytest.raises(StoreError, match=r"trace.parquet must be a readable trace, but"):
            read_trace(file)


def test_a_trace_that_expands_or_is_no_file_is_refused(tmp_path: Path, run: Any) -> None:
    file = tmp_path / "trace.parquet"
    rows = [{**rows_of(run)[1], "batch_reason": "x" * 1_000_000}] * 100
    pq.write_table(arrow_table(rows), file)
    assert file.stat().st_size < 200_000
    with pytest.raises(StoreError, match=r"trace.parquet must be a readable trace, but: it expands to 9[0-9] MiB"):
        read_trace(file)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(StoreError, match=r"trace.parquet must be a readable trace, but: .* it is a pipe"):
        read_trace(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.clear(), "must have a row for the state before"),
        (lambda rows: rows[2].update(iteration=1), "an iteration occurs twice"),
        (lambda rows: rows[2].update(iteration=None), "some have no iteration"),
        (lambda rows: rows.reverse(), "must count iteration from 0"),
        (lambda rows: rows[1].update(work=-3.0), "must count work from 0"),
        (lambda rows: rows[2].update(seconds=math.inf), "must count seconds from 0"),
        (lambda rows: rows[2].update(products=math.nan), "must count products from 0"),
        (lambda rows: rows[4].update(distinct_cases=0), "must count distinct_cases from 0"),
        (lambda rows: rows[2].update(batch_gradient=-1), "must have no batch_gradient below 0"),
        (lambda rows: rows[2].update(damping=-1.0), "must have no damping below 0"),
        (lambda rows: rows[2].update(test_error=math.nan), "must have a finite test_error in each row before the last"),
        (lambda rows: rows[0].update(validation_error=None), "must have a finite validation_error in each row before"),
        (lambda rows: rows.pop(), "must end where result.json does"),
        (lambda rows: rows[-1].update(test_error=None), "must end where result.json does"),
        (lambda rows: rows[-1].update(validation_error=math.nan), "must end where result.json does"),
    ],
)
def test_a_trace_that_is_not_the_runs_is_refused(run: Any, change: Callable[[Rows], object], message: str) -> None:
    rows = rows_of(run)
    result = result_of(run, "k", rows, "tiny")
    change(rows)
    with pytest.raises(StoreError, match=message):
        check_trace(arrow_table(rows), result, run.config())


def test_rows_without_errors_are_those_that_were_not_evaluated(run: Any) -> None:
    every, rows = run.config() | {"evaluate_every": 2}, rows_of(run)
    for row in rows[1:-1:2]:
        row.update(test_error=None, validation_error=None)
    result = result_of(run, "k", rows, "tiny")
    check_trace(arrow_table(rows), result, every)
    for wrong in ({"evaluate_every": 1}, {"evaluate_every": 3}, {"evaluate_every": 4}):
        with pytest.raises(StoreError, match="must have a finite validation_error in"):
            check_trace(arrow_table(rows), result, every | wrong)


@pytest.mark.parametrize("target_on", ["validation", "test"])
def test_the_row_at_the_target_is_there_by_the_errors_that_are_held_against_it(run: Any, target_on: str) -> None:
    spec, rows = replace(run, target_on=target_on), rows_of(run)
    result = result_of(spec, "k", rows, "tiny")
    rows[-1][f"{target_on}_error"] = result[f"final_{target_on}_error"] = 1.01 * spec.target
    with pytest.raises(StoreError, match="must have a row at the target"):
        check_trace(arrow_table(rows), result, spec.config())


def test_the_test_error_at_the_target_is_that_of_its_row(run: Any) -> None:
    rows = rows_of(run)
    result = result_of(run, "k", rows, "tiny") | {"test_error_at_target": rows[-2]["test_error"]}
    with pytest.raises(StoreError, match="must have a row at the target"):
        check_trace(arrow_table(rows), result, run.config())


def test_costs_to_the_target_are_those_of_a_row_at_the_target(run: Any) -> None:
    rows = rows_of(run)
    result = result_of(run, "k", rows, "tiny")
    check_trace(arrow_table(rows), result, run.config())
    for wrong in ({"work_to_target": rows[2]["work"]}, {"seconds_to_target": 0.0}, {"products_to_target": None}):
        with pytest.raises(StoreError, match="must have a row at the target"):
            check_trace(arrow_table(rows), result | wrong, run.config())
    with pytest.raises(StoreError, match="must have a row at the target"):
        check_trace(arrow_table(rows), result, run.config() | {"target": run.target / 2})
