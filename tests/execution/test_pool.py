from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.tiny_study import tiny

from hfbench.config.study_runs import runs_of
from hfbench.errors import ConfigError
from hfbench.execution.pool import Pool, run_all
from hfbench.execution.worker import _end_with
from hfbench.records.results_folder import ResultsFolder


def test_a_worker_watches_its_parent_once_however_many_runs_it_makes() -> None:
    before = threading.active_count()
    for _ in range(3):
        _end_with(os.getppid())
    assert threading.active_count() == before + 1


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


TYPED = """
from hfbench import registry
from hfbench.errors import ConfigError
from hfbench.config.run_spec import plan
from hfbench.solvers.cg import CG
from hfbench.execution.pool import added_parts
from support.tiny_study import MISBEHAVING, Path, tiny


class Typed(CG):
    "Conjugate gradients."


registry.add("solver", "typed", Typed)
specs = plan(tiny(Path({folder!r}), extra=MISBEHAVING % ("own", "typed")))
try:
    added_parts(specs)
except ConfigError as error:
    print(error)
"""


@pytest.mark.parametrize("claims", ["<stdin>", "a kernel's launcher", "nothing"])
def test_a_class_that_is_typed_needs_one_job(tmp_path: Path, claims: str) -> None:
    """`python -` gives __main__ the file "<stdin>"; a kernel may leave it none, or one that is not the class's."""
    code = TYPED.format(folder=str(tmp_path))
    if claims == "a kernel's launcher":
        code = f"__file__ = {str(tmp_path / 'launcher.py')!r}\n{code}"
    elif claims == "nothing":
        code = f"del __file__\n{code}"
    path = {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, env={**os.environ, **path})
    assert (done.returncode, done.stderr) == (0, "")
    assert "must be in a file that other processes can load, but is defined in no file (__main__.Typed)" in done.stdout
    assert "or run with one job (jobs=1)." in done.stdout
