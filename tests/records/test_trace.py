"""Traces: rows with every column in its order and type, and the table they become."""

from __future__ import annotations

import pyarrow as pa

from hfbench.records.trace import COLUMNS, arrow_table, of_step, row


def test_a_row_has_every_column_in_order_and_what_is_not_given_is_none() -> None:
    made = row({"iteration": 3.0, "seconds": 2, "batch_order": "random", "not a column": 1})
    assert list(made) == list(COLUMNS)
    assert {name: value for name, value in made.items() if value is not None} == {
        "iteration": 3, "seconds": 2.0, "batch_order": "random",
    }  # fmt: skip
    assert (type(made["iteration"]), type(made["seconds"])) == (int, float)


def test_a_table_has_the_columns_types_even_where_all_is_missing() -> None:
    for rows in ([], [row({})]):
        made = arrow_table(rows)
        assert made.num_rows == len(rows)
        assert made.schema.names == list(COLUMNS)
        assert made.schema.field("iteration").type == pa.int64()
        assert made.schema.field("rho").type == pa.float64()
        assert made.schema.field("stop_reason").type == pa.string()


def test_columns_of_a_step_are_some_of_all() -> None:
    assert set(of_step()) < set(COLUMNS)
    assert "rho" in of_step()
    assert "seconds" not in of_step()
