"""Trace of a run: one row per outer iteration, the same columns for every method, each declared once, here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a trace, with the texts that records, MLflow, figures and the reference use."""

    name: str
    type: type
    meaning: str
    unit: str = ""
    metric: str = ""  # in MLflow, where the text before the slash is the section it is shown in; "" if it is not there
    label: str = ""  # on an axis of a figure; its name if not given
    of_step: bool = False  # whether the optimiser's step gives it, in `StepResult`
    amount: bool = False  # whether it is never below 0, as every whole number
    cumulative: bool = False  # whether it counts from the run's beginning: finite, at least 0, never decreasing


COLUMNS: dict[str, Column] = {
    column.name: column
    for column in (
        Column(
            name="iteration", type=int, label="outer iteration",
            meaning="outer iterations done; 0 is the state before the first step",
        ),
        Column(
            name="seconds", type=float, unit="s", cumulative=True, metric="cost/seconds", label="training time (s)",
            meaning="time of the steps, without evaluation and records",
        ),
        Column(
            name="work", type=float, unit="passes", cumulative=True, metric="cost/work",
            label="work (passes over the training cases)",
            meaning="forward passes of one case, divided by the number of training cases; a backward pass, J·v or "
            "Jᵀ·u counts 2",
        ),
        Column(
            name="products", type=float, unit="products", cumulative=True, metric="cost/products",
            label="Gauss-Newton products", meaning="Gauss-Newton products so far",
        ),
        Column(
            name="cases_gradient", type=int, unit="cases", cumulative=True, metric="cost/cases_gradient",
            meaning="cases used so far for the gradient, repeated ones included",
        ),
        Column(
            name="cases_curvature", type=int, unit="cases", cumulative=True, metric="cost/cases_curvature",
            meaning="cases used so far for the curvature, repeated ones included",
        ),
        Column(
            name="distinct_cases", type=int, unit="cases", cumulative=True, metric="cost/distinct_cases",
            label="distinct cases touched", meaning="training cases used at least once",
        ),
        Column(
            name="batch_gradient", type=int, unit="cases", metric="cost/batch_gradient", label="gradient batch",
            meaning="cases of this step for the gradient",
        ),
        Column(
            name="batch_curvature", type=int, unit="cases", metric="cost/batch_curvature", label="curvature batch",
            meaning="cases of this step for the curvature",
        ),
        Column(name="batch_order", type=str, meaning="how the cases of this step were drawn"),
        Column(name="batch_reason", type=str, meaning="reason for the batch size of this step"),
        Column(
            name="train_objective_batch", type=float, metric="train/objective_batch",
            label="objective on the step's batch",
            meaning="f on the gradient batch of the step, after the step, weight decay included",
        ),
        Column(
            name="validation_objective", type=float, metric="validation/objective", label="validation objective",
            meaning="f on the validation cases after the step, where it was evaluated",
        ),
        Column(
            name="validation_error", type=float, metric="validation/error", label="validation error",
            meaning="error of the task on the validation cases after the step, where it was evaluated",
        ),
        Column(
            name="test_error", type=float, metric="test/error", label="test error",
            meaning="error of the task on the test cases after the step, where it was evaluated",
        ),
        Column(
            name="gradient_norm", type=float, metric="train/gradient_norm", label="gradient norm", of_step=True,
            amount=True, meaning="‖∇f‖ on the gradient batch",
        ),
        Column(
            name="variance_l1", type=float, metric="train/variance_l1", of_step=True, amount=True,
            meaning="‖Var(∇fᵢ)‖₁ on the gradient batch, if the schedule needs it",
        ),
        Column(
            name="variance_inner", type=float, metric="train/variance_inner", of_step=True,
            meaning="Var(∇fᵢᵀ∇f) on the gradient batch, if the schedule needs it",
        ),
        Column(
            name="damping", type=float, metric="opt/damping", label="damping lambda", of_step=True, amount=True,
            meaning="λ of this step's system",
        ),
        Column(name="next_damping", type=float, of_step=True, amount=True, meaning="λ of the next step's system"),
        Column(
            name="rho", type=float, metric="opt/rho", label="reduction ratio rho", of_step=True,
            meaning="reduction ratio; −∞ if the objective rose",
        ),
        Column(
            name="inner_iterations", type=int, unit="iterations", metric="opt/inner_iterations",
            label="inner iterations", of_step=True, meaning="iterations of the inner solve",
        ),
        Column(
            name="chosen_iterate", type=int, metric="opt/chosen_iterate", of_step=True,
            meaning="the inner iterate that backtracking chose",
        ),
        Column(name="stop_reason", type=str, of_step=True, meaning="the rule that ended the inner solve"),
        Column(
            name="step_length", type=float, metric="opt/step_length", of_step=True, amount=True,
            meaning="step length of the line search; 0 if no step was taken",
        ),
        Column(
            name="step_norm", type=float, metric="opt/step_norm", of_step=True, amount=True, meaning="‖step‖ as taken",
        ),
        Column(
            name="q", type=float, metric="opt/q", of_step=True,
            meaning="the quadratic model at the chosen iterate, damping included",
        ),
        Column(name="preconditioner", type=str, of_step=True, meaning="preconditioner of this step"),
        Column(
            name="right_hand_side", type=str, of_step=True,
            meaning="`residual` or `damping`, the form of b̃; empty for solvers of the matrix form",
        ),
        Column(
            name="product_mode", type=str, of_step=True,
            meaning="how J v was computed: `chain`, `transpose` or `forward`",
        ),
        Column(
            name="precision", type=str, of_step=True,
            meaning="precision used for the step's products: `float64`, `float32`, `tf32` or `bfloat16`",
        ),
        Column(
            name="peak_memory", type=int, unit="bytes", metric="cost/peak_memory",
            meaning="peak of the process since the run began; of the GPU if the run is on one",
        ),
        Column(
            name="predicted_memory", type=int, unit="bytes", metric="cost/predicted_memory", of_step=True,
            meaning="predicted peak memory of the step, in bytes of tensors, assuming `max_inner` inner iterations",
        ),
        Column(
            name="step_memory", type=int, unit="bytes", metric="cost/step_memory",
            meaning="peak of the process during the step, above its memory with the data alone; measured on "
            "Linux and GPUs only, elsewhere null",
        ),
    )
}  # fmt: skip


def of_step() -> tuple[str, ...]:
    """The columns taken from the record of a step."""
    return tuple(name for name, column in COLUMNS.items() if column.of_step)


def row(values: Mapping[str, Any]) -> Row:
    """A full row: every column, in order, as plain Python values; missing values are None."""
    return {name: None if values.get(name) is None else column.type(values[name]) for name, column in COLUMNS.items()}


def arrow_schema() -> pa.Schema:
    """The columns with their types in Arrow."""
    return _schema(tuple((name, column.type) for name, column in COLUMNS.items()))


@cache
def _schema(columns: tuple[tuple[str, type], ...]) -> pa.Schema:
    import pyarrow as pa

    types = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    return pa.schema([(name, types[kind]) for name, kind in columns])


def arrow_table(rows: Sequence[Row]) -> pa.Table:
    """Rows as an Arrow table with fixed column types, missing entries null."""
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows), schema=arrow_schema())


def import_writers() -> None:
    """Loads the libraries that writing a trace needs."""
    import io

    import pyarrow.parquet

    pyarrow.parquet.write_table(arrow_table([]), io.BytesIO())
