"""Sizes of batches as fractions and as numbers of cases."""

from __future__ import annotations

import pytest

from hfbench.errors import ConfigError
from hfbench.parts.batch_sizes import cases


def test_sizes_are_fractions_up_to_one_and_numbers_above() -> None:
    assert [cases(size, 200, "x") for size in (1.0, 0.25, 0.001, 2.0, 200.0)] == [200, 50, 1, 2, 200]
    with pytest.raises(ConfigError, match="^start: .* 200 training cases, but got 201"):
        cases(201.0, 200, "start")


@pytest.mark.parametrize("size", [1.25, 1.0000001, 1.999])
def test_a_size_between_one_and_two_is_neither(size: float) -> None:
    with pytest.raises(ConfigError, match="^start: must be a fraction up to 1 or a number of cases from 2"):
        cases(size, 200, "start")
