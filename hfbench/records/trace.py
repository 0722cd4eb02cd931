"""The trace of a run: one row per outer iteration, the same columns for every method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]

COLUMNS: dict[str, type] = {
    "iteration": int,  # 0 is the state before the first step
    "seconds": float,  # on the clock of the method: no evaluation, no records
    "work": float,  # passes: ledger units divided by the training cases
    "products": float,
    "cases_gradient": int,  # cumulative
    "cases_curvature": int,  # cumulative
    "distinct_cases": int,  # training cases touched at least once
    "batch_gradient": int,  # of this step
    "batch_curvature": int,  # of this step
    "batch_order": str,
    "batch_reason": str,
    "train_objective_batch": float,  # after the step, on its gradient batch, decay included
    "validation_objective": float,
    "validation_error": float,
    "test_error": float,
    "gradient_norm": float,
    "variance_l1": float,
    "variance_inner": float,
    "damping": float,  # used in this step
    "next_damping": float,
    "rho": float,
    "inner_iterations": int,
    "chosen_iterate": int,
    "stop_reason": str,
    "step_length": float,
    "step_norm": float,
    "q": float,
    "preconditioner": str,
    "right_hand_side": str,
    "product_mode": str,
    "precision": str,  # of the step's products
    "peak_memory": int,  # bytes
    "predicted_memory": int,  # bytes of tensors in this step, told before it
    "step_memory": int,  # bytes, as measured
}

STEP_COLUMNS = (
    "gradient_norm", "variance_l1", "variance_inner", "damping", "next_damping", "rho", "inner_iterations",
    "chosen_iterate", "stop_reason", "step_length", "step_norm", "q", "preconditioner", "right_hand_side",
    "product_mode", "precision", "predicted_memory",
)  # fmt: skip


def row(values: Mapping[str, Any]) -> Row:
    """A full row: every column, in order, as plain Python values; what is not given is None."""
    return {name: None if values.get(name) is None else kind(values[name]) for name, kind in COLUMNS.items()}


def table(rows: Sequence[Row]) -> pa.Table:
    """Rows as an Arrow table with fixed column types, missing entries null."""
    import pyarrow as pa

    types = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    schema = pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
    return pa.Table.from_pylist(list(rows), schema=schema)


def warm_up() -> None:
    """Loads the libraries that writing a trace needs."""
    import io

    import pyarrow.parquet

    pyarrow.parquet.write_table(table([]), io.BytesIO())
