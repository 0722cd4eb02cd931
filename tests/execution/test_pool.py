"""The pool of workers: how many there are, interrupts, and a pool that broke while it was idle."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from support.tiny_study import tiny

from hfbench.config.study_runs import runs_of
from hfbench.errors import ConfigError
from hfbench.execution.pool import Pool, run_all
from hfbench.records.results_folder import ResultsFolder


def test_jobs_are_at_least_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        next(run_all({}, ResultsFolder(tmp_path, "tiny"), 0))


def test_an_interrupt_right_after_a_run_was_handed_out_ends_the_workers_quietly(tmp_path: Path) -> None:
    def interrupted() -> None:
        spec = runs_of(tiny(tmp_path))[0]
        with Pool(ResultsFolder(tmp_path, "tiny"), 2) as pool:
            pool.submit(spec.key(), spec)
            pool.submit(spec.key(), spec)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "ExecutorManagerThread" not in [thread.name for thread in threading.enumerate()]


def test_a_pool_that_breaks_while_it_is_idle_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from joblib.externals.loky.process_executor import BrokenProcessPool

    class Broken:
        def submit(self, *call: object) -> None:
            raise BrokenProcessPool

    class Whole:
        def submit(self, *call: object) -> str:
            return "future"

    pool, executors = Pool(ResultsFolder(tmp_path, "tiny"), 2), [Whole(), Broken()]
    monkeypatch.setattr(pool.engine, "_executor", executors.pop)
    spec = runs_of(tiny(tmp_path))[0]
    pool.submit("key", spec)
    assert list(pool._running.items()) == [("future", ("key", spec))]
