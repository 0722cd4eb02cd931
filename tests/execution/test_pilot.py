"""Pilot runs: seeds that are begun to tell what a study costs, and that go on in it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from support.tiny_study import run_quietly, specs, tiny, trace_of, uses_mlflow

from hfbench.commands import run_plan
from hfbench.commands.run_plan import (
    plan_study,
)
from hfbench.config.study import Study
from hfbench.execution.pilot import begin_pilots
from hfbench.records.run_folder import RunFolder

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store", "undrawn")]


def planned(study: Study, results: Path, jobs: int = 1) -> tuple[int, str]:
    screen = io.StringIO()
    return plan_study(study, results, jobs, None, Console(file=screen, width=80)), screen.getvalue()


@pytest.mark.slow
def test_other_seeds_follow_a_run_that_ends_at_once(tmp_path: Path) -> None:
    """Up to a third of them, and as far as the time for one run goes."""
    study = tiny(tmp_path, "study.seeds=6")
    status, text = planned(study, tmp_path / "results")
    assert (status, "8 of 12 runs left" in text) == (0, True)
    assert RunFolder(tmp_path / "results", specs(study)["hf", 1].key()).is_complete()
    assert not RunFolder(tmp_path / "results", specs(study)["hf", 2].key()).is_complete()


@pytest.mark.slow
def test_more_seeds_of_long_runs_are_begun_where_there_is_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the six seeds, if the plan may take so long; each goes on from where it was left."""
    monkeypatch.setattr(run_plan, "PROBE", 0.0)  # two steps are made all the same
    study = tiny(tmp_path, "study.seeds=6", "study.stop_at_target=false")
    for patience, seeds in ((0.0, 1), (60.0, 2)):
        monkeypatch.setattr(run_plan, "PATIENCE", patience)
        results = tmp_path / f"results-{seeds}"
        status, text = planned(study, results)
        assert (status, "12 of 12 runs left" in text, f"starting {2 * seeds} runs" in text) == (0, True, True)
        begun = [RunFolder(results, specs(study)["hf", seed].key()).load_checkpoint() for seed in range(3)]
        assert [one is not None for one in begun] == [seed < seeds for seed in range(3)]


def test_runs_that_end_at_once_are_told_as_they_were(tmp_path: Path) -> None:
    study = tiny(tmp_path, "study.seeds=3")
    status, text = planned(study, tmp_path / "results")
    assert status == 0
    assert max(map(len, text.splitlines())) <= 80
    assert "4 of 6 runs left" in text  # the first seed's have ended
    for name in ("hf", "shf"):
        steps = len(RunFolder(tmp_path / "results", specs(study)[name, 0].key()).rows()) - 1
        line = next(one.split() for one in text.splitlines() if name in one.split())
        assert str(steps) in line
    status, again = planned(study, tmp_path / "results")
    assert (status, "4 of 6 runs left" in again) == (0, True)


@pytest.mark.slow
def test_a_run_begun_for_it_goes_on_in_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_plan, "PROBE", 0.0)  # two steps are made all the same
    study = tiny(tmp_path, "study.stop_at_target=false")
    folder = RunFolder(tmp_path / "results", specs(study)["hf", 0].key())
    status, text = planned(study, tmp_path / "results")
    assert status == 0
    assert "4 of 4 runs left" in text
    assert "~" in text
    begun = (folder.load_checkpoint() or {})["rows"]
    assert len(begun) == 3
    run_quietly(study, tmp_path / "results")
    run_quietly(study, tmp_path / "whole")
    spec = specs(study)["hf", 0]
    assert trace_of(spec, tmp_path / "results").equals(trace_of(spec, tmp_path / "whole"))
    assert [row["seconds"] for row in folder.rows()][: len(begun)] == [row["seconds"] for row in begun]


def test_a_pilot_tells_the_bytes_of_the_weights_before_and_after_its_end(tmp_path: Path) -> None:
    spec = specs(tiny(tmp_path, "study.seeds=1", "study.targets.tiny-curves=1.0"))["hf", 0]
    shared = [(spec.key(), spec)], tmp_path, "tiny", None
    begun, ended = (begin_pilots(*shared, seconds, 1, True).runs[0] for seconds in (0.0, 1e9))
    assert (begun.ended, ended.ended) == (False, True)
    file = RunFolder(tmp_path, spec.key()).weights_path
    assert ended.weights == file.stat().st_size
    assert 0 < begun.weights < ended.weights < begun.weights + 1000  # its header
    assert begin_pilots(*shared, 1e9, 1).runs[0].weights == 0
