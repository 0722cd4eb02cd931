"""Growing batches: noise without bound needs every case."""

from __future__ import annotations

import math

import pytest

from hfbench.schedulers.growth import smallest_batch


@pytest.mark.parametrize("correction", [True, False])
@pytest.mark.parametrize("variance", [math.inf, math.nan])
def test_noise_without_bound_needs_everything(correction: bool, variance: float) -> None:
    assert smallest_batch(variance, 1.0, 10, 1000, correction) == 1000
