"""The benchmark of memory: what its rows say must agree with one another."""

from __future__ import annotations

import pytest

from benchmarks import memory
from benchmarks.runner import Options


@pytest.mark.slow
def test_memory_compares_settings_of_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "apart", memory.measured)  # a process for each takes seconds
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    settings = {"structured": memory.PLAIN, "flat": memory.FLAT, "chunk 10": {"chunk": 10}, "few": memory.NO_KEPT}
    rows = list(memory.compare("usps", "cg", 40, settings, Options(threads=1, quick=True)))
    assert {tuple(sorted(row)) for row in rows} == {tuple(sorted(memory.COLUMNS))}
    assert [row["setting"] for row in rows] == list(settings)
    whole, flat, streamed, few = rows
    for row in rows:
        assert float(row["told"] or 0) == pytest.approx(float(row["counted"] or 0), rel=0.1)
        assert float(row["ratio"] or 0) == pytest.approx(float(row["counted"] or 0) / float(whole["counted"] or 1))
        assert float(row["vectors"] or 0) > 5
    assert float(flat["ratio"] or 0) > 1
    assert float(streamed["ratio"] or 0) <= 1
    assert float(few["vectors"] or 0) < float(whole["vectors"] or 0)
