"""Server from which the processes of runs are forked, started as early as a command knows that it may need one.

It loads its libraries while the command loads its own. This module imports none of them.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker

from hfbench.execution.parent_watch import PARENT
from hfbench.interrupts import signals_deferred

PRELOADED = "hfbench.execution.preloaded"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def start_server() -> None:
    """Starts the server of this process, unless it runs, and does not wait for it."""
    # When the tracker starts it unblocks signals: later, that would undo `signals_deferred` for the server.
    resource_tracker.ensure_running()
    threads = dict.fromkeys(THREADS, "1")  # in each library of linear algebra
    with signals_deferred(), _environment(threads | {PARENT: str(os.getpid())}):
        multiprocessing.get_context("forkserver").set_forkserver_preload([PRELOADED])
        forkserver.ensure_running()


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """What is started in the block has these variables."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
