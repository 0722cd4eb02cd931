from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from hfbench.errors import ConfigError
from hfbench.studies.jobs import Setting, _end_with, run_all


def test_a_worker_watches_its_parent_once_however_many_runs_it_makes() -> None:
    before = threading.active_count()
    for _ in range(3):
        _end_with(os.getppid())
    assert threading.active_count() == before + 1


def test_jobs_are_at_least_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        next(run_all({}, Setting(tmp_path, "tiny"), 0))
