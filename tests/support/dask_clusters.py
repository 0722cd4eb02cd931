"""Dask clusters of processes of their own, which may be killed."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from hfbench.errors import ConfigError
from hfbench.execution.backends import Engine, engine_of


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[str]:
    """A scheduler and workers, started as a user would, in folders and processes of their own; gives the address."""
    with cluster_of(folder, workers) as (address, _):
        yield address


@contextmanager
def cluster_of(folder: Path, workers: int) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """The same with its processes, the scheduler first."""
    pytest.importorskip("distributed")
    address = f"tcp://127.0.0.1:{free_port()}"
    cli = [sys.executable, "-m", "distributed.cli"]
    begun = [["dask_scheduler", "--host", "127.0.0.1", "--port", address.rsplit(":", 1)[1], "--no-dashboard"]]
    begun += [["dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]] * workers
    places = [folder / f"cluster-{place}" for place in range(len(begun))]
    processes = []
    for (module, *options), place in zip(begun, places, strict=True):
        place.mkdir(parents=True)
        command = [*cli[:2], f"distributed.cli.{module}", *options]
        processes.append(subprocess.Popen(command, cwd=place, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
    try:
        yield address, processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def dask(address: str, workers: int) -> Iterator[Engine]:
    """The engine, as soon as all workers are there."""
    deadline = time.monotonic() + 60
    while True:
        try:
            engine = engine_of("dask", address, None)
        except ConfigError:
            assert time.monotonic() < deadline, "no cluster"
            time.sleep(0.5)
            continue
        with closing(engine):
            while engine.capacity < workers:
                assert time.monotonic() < deadline, "no workers"
                time.sleep(0.1)
            yield engine
            return
