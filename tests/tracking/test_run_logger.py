"""Long runs can be followed in MLflow while they run; trouble with it costs nothing but that."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.tiny_study import MISBEHAVING, State, mlflow_runs, run_quietly, tiny, uses_mlflow

from hfbench import registry
from hfbench.config.load import load_study
from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of
from hfbench.parts.hyperparameters import part
from hfbench.records.results_folder import ResultsFolder
from hfbench.runs.run import LiveRun
from hfbench.tracking import run_logger
from hfbench.tracking.mlflow_store import Tracker

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store", "undrawn")]


@part
class Slow:
    """A long run in little: a small step after a pause."""

    def iterates(self, system: Any, x0: Any, preconditioner: Any) -> Iterator[State]:
        yield State(0, system.gradient * 0.0)
        time.sleep(0.2)
        yield State(1, system.gradient * -1e-4)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Study]:
    with registry.temporary("solver", "slow", Slow):
        file = tiny(tmp_path, extra=MISBEHAVING % ("slow", "slow")).source
        settings = ["study.seeds=1", "study.baseline=slow", "study.targets.tiny-curves=0.001"]
        yield load_study(file, [*settings, "study.budget.iterations=10"], only=["slow"])


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_logger, "POINT_EVERY", 0.3)
    monkeypatch.setattr(run_logger, "LOOK_EVERY", 0.05)


def children(study: Study, results: Path) -> list[Any]:
    return [run for run in mlflow_runs(results, study.name) if "run_key" in run.data.tags]


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_long_run_is_seen_while_it_runs(
    slow: Study, results: Path, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, log_row = [], Tracker.log_row

    def looking(self: Tracker, key: str, *of: Any) -> bool:
        new = log_row(self, key, *of)
        if new:
            child = self.client.get_run(self.live[key].run)
            seen.append((child.info.run_id, child.info.status, child.data.metrics["test/error"], of[1]["test_error"]))
            assert self.client.get_run(self.parent).info.status == "RUNNING"
        return new

    monkeypatch.setattr(Tracker, "log_row", looking)
    assert run_quietly(slow, results, jobs=jobs)[0] == 0
    (child,) = children(slow, results)
    assert child.info.status == "FINISHED"
    assert len(seen) >= 2
    assert {(run, status) for run, status, _, _ in seen} == {(child.info.run_id, "RUNNING")}
    assert all(shown == reported for _, _, shown, reported in seen)
    history = Tracker(results, slow.name).client.get_metric_history(child.info.run_id, "test/error")
    assert sorted(point.step for point in history) == list(range(11))


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
def test_what_ctrl_c_leaves_is_killed_and_then_replaced(
    slow: Study, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, log_row, advance = [], Tracker.log_row, LiveRun.advance

    def counting(*of: Any) -> bool:
        new = log_row(*of)
        rows.append(new)
        return new

    def interrupted(self: LiveRun) -> None:
        if any(rows):
            raise KeyboardInterrupt
        advance(self)

    monkeypatch.setattr(Tracker, "log_row", counting)
    with monkeypatch.context() as interrupting:
        interrupting.setattr(LiveRun, "advance", interrupted)
        assert run_quietly(slow, results)[0] == 130
    (killed,) = children(slow, results)
    assert killed.info.status == "KILLED"
    assert run_quietly(slow, results)[0] == 0
    (child,) = children(slow, results)
    assert child.info.status == "FINISHED"
    assert child.info.run_id != killed.info.run_id


@pytest.mark.usefixtures("hasty")
def test_trouble_with_the_store_costs_the_live_points_only(
    slow: Study, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Any] = []

    def broken(*of: Any) -> bool:
        tried.append(of)
        raise OSError("no store")

    for name in ("log_row", "begin", "abandon"):
        monkeypatch.setattr(Tracker, name, broken)
    assert run_quietly(slow, results)[0] == 0
    assert len(tried) > 2
    assert [child.info.status for child in children(slow, results)] == ["FINISHED"]


def test_a_run_is_shown_once_it_has_lasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_logger, "POINT_EVERY", 0.5)
    monkeypatch.setattr(run_logger, "LOOK_EVERY", 0.05)
    spec = runs_of(tiny(tmp_path, "study.seeds=1"))[0]
    shown: list[tuple[int, float]] = []

    class Recorder:
        def log_row(self, key: str, params: Any, row: Any) -> bool:
            shown.append((row["iteration"], time.monotonic()))
            return True

    setting = ResultsFolder(tmp_path, "tiny")
    recorder: Any = Recorder()
    of_study = run_logger.RunLogger(recorder, {spec.key(): spec}, setting, Console())
    setting.folder(spec.key()).create({})
    began = time.monotonic()
    with of_study.follow([spec.key()]):
        for iteration in range(40):
            more = {"error": 9.0} if iteration else {}  # the first says only that the run has begun
            setting.folder(spec.key()).report({"iteration": iteration, **more})
            time.sleep(0.05)
        setting.folder(spec.key()).finish([], {"outcome": "budget"})
        with of_study._writing:  # a point begun before the end may still be on its way
            ended = len(shown)
        lasted = time.monotonic() - began
        time.sleep(0.7)
    assert ended == len(shown)
    times = [when for _, when in shown]
    assert times[0] - began >= 0.5
    # a loaded machine may write a point a little after it was due
    assert all(later - earlier >= 0.3 for earlier, later in zip(times, times[1:], strict=False))
    assert 2 <= len(shown) <= lasted / 0.5
    assert run_logger.LOOK_EVERY < run_logger.POINT_EVERY


def test_the_newest_point_is_at_most_30_seconds_old() -> None:
    assert run_logger.POINT_EVERY + run_logger.LOOK_EVERY < 30
