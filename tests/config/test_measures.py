"""Measures: each cost is counted by a column of the trace and spent in a field of the result."""

from __future__ import annotations

import pytest

from hfbench.config.measures import LIMITS, MEASURES, costs
from hfbench.records.recorded_study import RESULT_COLUMNS
from hfbench.records.trace import COLUMNS


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_is_a_field_of_results(name: str) -> None:
    measure = MEASURES[name]
    assert measure.name == name
    assert name in RESULT_COLUMNS
    assert measure.is_cost == (name in costs()) == name.endswith("_to_target")


@pytest.mark.parametrize("measure", costs().values(), ids=costs())
def test_a_cost_has_a_column_that_counts_it_and_may_have_a_limit(measure) -> None:
    assert measure.spent in RESULT_COLUMNS
    assert measure.column in COLUMNS
    assert measure.limit in ("", *LIMITS)


def test_limits_are_columns_of_a_trace() -> None:
    assert set(LIMITS.values()) <= set(COLUMNS)
