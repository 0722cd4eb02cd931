"""Trace files: read whole, with the declared columns, and checked against the run that they are of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfbench.config.measures import AT_TARGET, costs
from hfbench.errors import StoreError
from hfbench.messages import quoted
from hfbench.records.files import decoding
from hfbench.records.parquet_reading import read_table
from hfbench.records.trace import COLUMNS, Column, arrow_schema
from hfbench.regular_files import read_regular_file

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Numbers = npt.NDArray[np.float64]

LARGEST = 1 << 30  # bytes of a file

# Fields of a result that repeat an entry of the last row, with the column of that entry.
OF_LAST_ROW = {
    **{cost.spent: cost.column for cost in costs().values() if not cost.per_case},
    "iterations": "iteration", "final_test_error": "test_error", "final_validation_error": "validation_error",
}  # fmt: skip


def trace_bytes(table: pa.Table) -> bytes:
    """The contents of a trace file."""
    import pyarrow.parquet

    sink = BytesIO()
    pyarrow.parquet.write_table(table, sink)
    return sink.getvalue()


def read_trace(source: Path | bytes, name: str = "", columns: Sequence[str] | None = None) -> pa.Table:
    """The trace in a file, or in the contents of one that is called `name`: these columns, or all.

    Columns that a later version added are null. Raises StoreError for a file that cannot be read or has other columns.
    """
    with decoding(name or str(source), "a readable trace"):
        held = source if isinstance(source, bytes) else read_regular_file(source, LARGEST)
        table = read_table(held, columns)
        table.validate(full=True)
        return completed(table, columns or tuple(COLUMNS))


def completed(table: pa.Table, names: Sequence[str] = tuple(COLUMNS)) -> pa.Table:
    """The table with these columns of a trace. Raises ValueError for columns that no trace has."""
    import pyarrow as pa

    schema = arrow_schema()
    if table.schema.equals(schema):
        return table
    there = table.schema.names
    for field in table.schema:
        if there.count(field.name) > 1 or field.name not in COLUMNS:
            raise ValueError(f"it has a column {quoted(field.name)}, which a trace has not")
        if field.type != schema.field(field.name).type:
            raise ValueError(
                f"its column {quoted(field.name)} must hold {schema.field(field.name).type}, not {field.type}"
            )
    columns = {name: table[name] if name in there else pa.nulls(len(table), schema.field(name).type) for name in names}
    return pa.table(columns)


def check_trace(table: pa.Table, result: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raises StoreError if a trace is not that of a run with this result and configuration."""
    if not len(table):
        raise StoreError("trace.parquet must have a row for the state before the first step, but has none.")
    columns = [column for column in COLUMNS.values() if column.type is not str]
    numbers = _numbers(table, [column.name for column in columns])
    _check_order(table, numbers, columns)
    _check_entries(numbers, columns, config.get("evaluate_every", 1))
    for field, name in OF_LAST_ROW.items():
        last = table[name][-1].as_py()
        if not _is_same(last, result.get(field)):
            raise StoreError(
                f"trace.parquet must end where result.json does, but its last {name} is {quoted(last)} and "
                f"{field} is {quoted(result.get(field))}."
            )
    _check_reached(dict(zip((column.name for column in columns), numbers.T, strict=True)), result, config)


def stopped_early(table: pa.Table) -> float:
    """The test error at the smallest validation error, the first of several; not a number where neither is known."""
    import numpy as np

    validation, test = _numbers(table, ["validation_error", "test_error"]).T
    known = np.flatnonzero(~(np.isnan(validation) | np.isnan(test)))
    return float(test[known[validation[known].argmin()]]) if len(known) else math.nan


# A trace is short, and a study has thousands: what holds of a column is asked of all at once.


def _numbers(table: pa.Table, names: Sequence[str]) -> Numbers:
    """Columns of numbers (rows × columns), not a number where there is none."""
    (batch,) = table.select(names).combine_chunks().to_batches()
    numbers: Numbers = batch.to_tensor(null_to_nan=True).to_numpy()
    return numbers


def _check_order(table: pa.Table, numbers: Numbers, columns: Sequence[Column]) -> None:
    """Iterations increase, and costs are counted on from row to row."""
    import numpy as np

    if table["iteration"].null_count:
        raise StoreError("trace.parquet must number its rows, but some have no iteration.")
    wrong = np.logical_or.reduce((numbers < np.fmax.accumulate(numbers)) | (numbers < 0) | np.isinf(numbers))
    unknown = np.isnan(numbers).sum(axis=0)
    for column, is_wrong, gaps in zip(columns, wrong, unknown, strict=True):
        if (column.cumulative or column.name == "iteration") and (
            is_wrong or (gaps and gaps > table[column.name].null_count)
        ):
            raise StoreError(f"trace.parquet must count {column.name} from 0 without ever decreasing, but does not.")
    if (np.diff(numbers[:, columns.index(COLUMNS["iteration"])]) == 0).any():
        raise StoreError("trace.parquet must number its rows in order, but an iteration occurs twice.")


def _check_entries(numbers: Numbers, columns: Sequence[Column], every: int) -> None:
    """No amount is below 0, and the errors are finite in the rows before the last that were evaluated, and there alone.

    A run whose errors are not finite has ended.
    """
    import numpy as np

    below, finite = np.logical_or.reduce(numbers < 0), np.isfinite(numbers[:-1]).T
    evaluated = numbers[:-1, columns.index(COLUMNS["iteration"])] % every == 0
    for column, is_below, is_finite in zip(columns, below, finite, strict=True):
        if is_below and (column.type is int or column.amount):
            raise StoreError(f"trace.parquet must have no {column.name} below 0, but has one.")
        if column.name in ("test_error", "validation_error") and (is_finite != evaluated).any():
            rows = "each row" if every == 1 else f"row 0 and every {every}th, and in no other,"
            raise StoreError(
                f"trace.parquet must have a finite {column.name} in {rows} before the last, but has another."
            )


def _check_reached(entries: Mapping[str, Numbers], result: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Costs to the target, and the test error there, are those of one row after a step that is at the target."""
    import numpy as np

    told = {cost.column: result.get(name) for name, cost in costs().items() if not cost.per_case}
    if all(value is None for value in told.values()):
        return
    told |= {"test_error": result[AT_TARGET]} if AT_TARGET in result else {}
    reached = entries[f"{target_on(config)}_error"] <= config["target"]
    reached[0] = False  # before the first step
    for name, value in told.items():
        reached &= np.isnan(entries[name]) if value is None else entries[name] == value
    if not reached.any():
        raise StoreError("trace.parquet must have a row at the target with the costs of result.json, but has none.")


def target_on(config: Mapping[str, Any]) -> str:
    """The cases whose error is held against the target in a run with this configuration."""
    return str(config.get("target_on", "test"))


def _is_same(entry: Any, told: Any) -> bool:
    """True if an entry of the trace is what the result says; JSON has null for a number that is not finite."""
    if isinstance(entry, float) and not math.isfinite(entry):
        return told is None
    return bool(entry == told)
