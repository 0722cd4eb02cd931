"""Growing batches: the smallest that passes, by trying all; noise without bound needs every case."""

from __future__ import annotations

import math

import pytest

from hfbench.parts.protocols import BatchPlan
from hfbench.schedulers.growth import plan, smallest_batch


@pytest.mark.parametrize("correction", [True, False])
@pytest.mark.parametrize("variance", [math.inf, math.nan])
def test_noise_without_bound_needs_everything(correction: bool, variance: float) -> None:
    assert smallest_batch(variance, 1.0, 10, 1000, correction) == 1000


@pytest.mark.parametrize("correction", [True, False])
@pytest.mark.parametrize("allowed", [0.3, 1.0, 5.0])
def test_it_is_the_first_batch_that_passes_or_the_present_one(correction: bool, allowed: float) -> None:
    """Every batch of a small set tried one after the other."""
    N, variance = 40, 13.7

    def passes(n: int) -> bool:
        return variance / n * ((N - n) / (N - 1) if correction else 1.0) <= allowed

    first = next((n for n in range(1, N + 1) if passes(n)), N)
    for n in range(1, N + 1):
        assert smallest_batch(variance, allowed, n, N, correction) == (n if passes(n) else first)


def test_a_batch_that_passes_by_the_correction_alone_is_kept() -> None:
    """110/100·900/999 <= 1, while 110/100 is not; without noise allowed, all cases pass and no fewer."""
    assert smallest_batch(110.0, 1.0, 100, 1000, correction=True) == 100
    assert smallest_batch(110.0, 1.0, 100, 1000, correction=False) == 110
    assert smallest_batch(110.0, 0.0, 1000, 1000, correction=True) == 1000
    assert smallest_batch(1.0, 0.0, 999, 1000, correction=True) == 1000


def test_the_factor_is_that_of_n_of_N_cases() -> None:
    """(N - n)/(N - 1) is ½ for 2 of 3 cases, where (N - n)/N would be a third."""
    assert smallest_batch(4.0, 1.0, 2, 3, correction=True) == 2
    assert smallest_batch(4.2, 1.0, 2, 3, correction=True) == 3


@pytest.mark.parametrize(("share", "cases"), [(1.0, 10), (0.25, 2), (0.26, 3), (0.01, 1)])
def test_the_curvatures_part_is_rounded_and_one_at_least(share: float, cases: int) -> None:
    assert plan(10, share, "cyclic", "keep") == BatchPlan(10, cases, "cyclic", "keep")
