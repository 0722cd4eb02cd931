"""A row of the benchmark has both sides and the ratio of their times."""

from __future__ import annotations

from benchmarks.columns import COLUMNS, compare


def test_a_row_has_both_sides_and_their_ratio() -> None:
    row = compare("usps", 8, 2, threads=1)
    assert set(row) == set(COLUMNS)
    low, ratio, high = (row[key] for key in ("low", "ratio", "high"))
    assert isinstance(low, float)
    assert isinstance(ratio, float)
    assert isinstance(high, float)
    assert 0 < low <= ratio <= high
