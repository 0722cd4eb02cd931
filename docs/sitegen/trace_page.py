"""Reference page of trace columns and measures, read from their declarations."""

from __future__ import annotations

from hfbench.config.measures import AT_TARGET, MEASURES, Measure
from hfbench.records.trace import COLUMNS, Column

from .markdown import code, table

INTRO = """# Columns and measures

A run writes a row per outer iteration to its trace, and its [result](records.md#fields-of-a-result) at its end.

"""
TYPES = {int: "whole number", float: "number", str: "text"}


def page() -> str:
    return "\n".join([INTRO + "## Columns of a trace\n", columns(), "## Measures\n", measures()])


def columns() -> str:
    rows = [[code(name), _kind(column), column.meaning, _metric(column)] for name, column in COLUMNS.items()]
    return table(["column", "type", "what", "in MLflow"], rows)


def _kind(column: Column) -> str:
    return f"{TYPES[column.type]}, {column.unit}" if column.unit else TYPES[column.type]


def _metric(column: Column) -> str:
    return code(column.metric) if column.metric else "–"


def measures() -> str:
    head = "What methods are compared by; less is better. A cost is counted up to the target.\n\n"
    rows = [[code(name), measure.title, _spent(measure), _limit(measure)] for name, measure in MEASURES.items()]
    return head + table(["measure", "title", "of a whole run", "limit of a budget"], rows)


def _spent(measure: Measure) -> str:
    return code(measure.spent) if measure.is_cost else "–" if measure.name == AT_TARGET else "the same"


def _limit(measure: Measure) -> str:
    return code(measure.limit) if measure.limit else "–"
