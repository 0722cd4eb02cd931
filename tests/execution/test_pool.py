"""The pool of runs: how many at a time, and interrupts."""

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
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("hfbench-process")]


def test_the_next_run_begins_before_the_caller_has_dealt_with_a_result(tmp_path: Path) -> None:
    specs = {spec.key(): spec for spec in runs_of(tiny(tmp_path))}
    assert len(specs) > 2
    with Pool(ResultsFolder(tmp_path, "tiny"), 2) as pool:
        results = pool.results(specs)
        next(results)
        assert len(pool._running) == 2
        assert len(list(results)) == len(specs) - 1
    assert not pool.busy
