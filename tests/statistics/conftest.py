"""Tests of the statistics, whose oracle collects garbage at each call."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _little_to_collect() -> Iterator[None]:
    """statsmodels' `multipletests` collects garbage: half a second each time in a process that has imported torch."""
    gc.freeze()
    yield
    gc.unfreeze()
