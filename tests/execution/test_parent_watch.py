"""A process that ends with its parent while it loads its libraries."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from hfbench.execution.parent_watch import PARENT, ended_with_parent

# Begins the server, whose libraries take a minute to load, and is killed meanwhile.
KILLED = """
import os, signal, sys, time
sys.path.remove(os.environ["PYTHONPATH"])  # the slow library is the server's alone
from hfbench.execution.processes import Processes
Processes(1).prepare()
while not os.path.exists("loading"):
    time.sleep(0.02)
os.kill(os.getpid(), signal.SIGKILL)
"""
SLOW_LIBRARY = """
import os, time
with open("process", "w") as file:
    file.write(str(os.getpid()))
os.rename("process", "loading")
time.sleep(60)
"""


def test_the_server_ends_with_a_parent_that_is_killed_while_it_loads(tmp_path: Path) -> None:
    library = tmp_path / "library" / "torch.py"
    library.parent.mkdir()
    library.write_text(SLOW_LIBRARY)
    env = os.environ | {"PYTHONPATH": str(library.parent)}
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, env=env, timeout=50, check=False)
    assert killed.returncode == -signal.SIGKILL
    _, alive = _wait_for(int((tmp_path / "loading").read_text()))
    for process in alive:
        process.kill()
    assert alive == []


def _wait_for(pid: int) -> tuple[list[psutil.Process], list[psutil.Process]]:
    try:
        return psutil.wait_procs([psutil.Process(pid)], timeout=10)  # type: ignore[no-any-return]
    except psutil.NoSuchProcess:
        return [], []


LOADING = """
import time
from hfbench.execution.parent_watch import ended_with_parent
with ended_with_parent():
    time.sleep(60)
"""


def test_a_parent_that_has_ended_before_ends_it_too() -> None:
    env = os.environ | {PARENT: str(os.getppid())}  # not this process, which is asked for
    assert subprocess.run([sys.executable, "-c", LOADING], env=env, timeout=30, check=False).returncode == 1


def test_after_the_block_no_thread_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PARENT, raising=False)
    before = threading.active_count()
    with ended_with_parent():
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
