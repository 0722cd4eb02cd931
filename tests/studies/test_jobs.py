from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from tiny_study import tiny

from hfbench.errors import ConfigError
from hfbench.runspec import plan
from hfbench.studies.jobs import Pool, Setting, _end_with, run_all


def test_a_worker_watches_its_parent_once_however_many_runs_it_makes() -> None:
    before = threading.active_count()
    for _ in range(3):
        _end_with(os.getppid())
    assert threading.active_count() == before + 1


def test_jobs_are_at_least_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        next(run_all({}, Setting(tmp_path, "tiny"), 0))


def test_an_interrupt_right_after_a_run_was_handed_out_ends_the_workers_quietly(tmp_path: Path) -> None:
    def interrupted() -> None:
        spec = plan(tiny(tmp_path))[0]
        with Pool(Setting(tmp_path, "tiny"), 2) as pool:
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

    pool, executors = Pool(Setting(tmp_path, "tiny"), 2), [Whole(), Broken()]
    monkeypatch.setattr(pool, "_executor", executors.pop)
    spec = plan(tiny(tmp_path))[0]
    pool.submit("key", spec)
    assert list(pool._running.items()) == [("future", ("key", spec))]
