"""Forecasts of memory from runs on a few cases, and the chunks they choose."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hfbench.errors import ConfigError
from hfbench.memory.allocations import case_slices
from hfbench.memory.forecast import ChunkPlan, Forecast, plan_chunk


def test_a_forecast_of_lines_is_exact() -> None:
    """1000 bytes, 8 per case of a, 4 per case of b; later 40 per case of the chunk, or 200 in slices of at most 3."""

    def run(sizes: Any) -> None:
        _ = torch.zeros(1000, dtype=torch.int8), torch.zeros(sizes["a"], 2), torch.zeros(sizes["b"])
        for one in case_slices(sizes["a"], sizes["chunk"]):
            n = one.stop - one.start
            torch.zeros(n, 10)
            for some in case_slices(n, 3, bounded=True):
                torch.zeros(some.stop - some.start, 50)

    forecast = Forecast.of(run, {"a": 5, "b": 2, "chunk": 3})
    for a, b, chunk in ((5, 2, 3), (100, 7, 9), (1000, 1, 500), (1000, 1000, 4)):
        expected = 1000 + 8 * a + 4 * b + max(40 * chunk, 200 * min(chunk, 3))
        assert forecast.peak({"a": a, "b": b, "chunk": chunk}) == expected
    sizes = {"a": 100, "b": 7}
    limit = forecast.peak({**sizes, "chunk": 20})
    assert forecast.largest("chunk", limit, sizes, 99) == 20
    assert forecast.largest("chunk", limit + 39, sizes, 99) == 20
    assert forecast.largest("chunk", limit, sizes, 12) == 12
    assert forecast.largest("chunk", 10, sizes, 99) == 0


def test_where_computations_differ_their_peaks_are_compared() -> None:
    def run(sizes: Any) -> None:
        kept = [torch.zeros(10) for _ in range(sizes["a"])]
        del kept

    assert Forecast.of(run, {"a": 2}).peak({"a": 50}) == 50 * 40


def test_plans_stream_the_larger_batch_first() -> None:
    """Bytes: 10 per case that is in the model at once, whole batches being there all the time."""

    def forecast(few: Any) -> Forecast:
        def run(sizes: Any) -> None:
            chunk = sizes.get("chunk", max(sizes.values()))
            _ = [torch.zeros(min(sizes[name], chunk), 10, dtype=torch.int8) for name in few if name != "chunk"]

        return Forecast.of(run, few)

    cases = {"gradient": 100, "curvature": 20}
    assert plan_chunk(forecast, cases, 5, None, 1205) == ChunkPlan(None, 1205)
    assert plan_chunk(forecast, cases, 5, None, 705) == ChunkPlan(50, 705), "two equal chunks of the gradient's cases"
    assert plan_chunk(forecast, cases, 5, None, 405) == ChunkPlan(20, 405)
    assert plan_chunk(forecast, cases, 5, None, 205) == ChunkPlan(10, 205)
    assert plan_chunk(forecast, cases, 5, 4, 705) == ChunkPlan(4, 85)
    assert plan_chunk(forecast, cases, 5, 30, None) == ChunkPlan(30, 505)
    with pytest.raises(ConfigError, match=r"at least 25 B for 120 cases \(20 B for one case .* 5 B for all else"):
        plan_chunk(forecast, cases, 5, None, 24)
