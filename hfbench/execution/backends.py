"""Backends of a pool of runs: loky's processes on this machine, or the workers of a Dask cluster.

Both give `concurrent.futures` futures, so that a pool of runs (`hfbench.execution.pool`) is the same for each. On
this machine a run writes its own folder. Elsewhere there need be no common file system: a run is sent with what is
recorded of it, is made in a folder of the worker's own, and the folder comes back as the result.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import resource_tracker
from typing import Any, ClassVar, Protocol

from hfbench.errors import ConfigError
from hfbench.interrupts import signals_deferred

IDLE = 300.0  # seconds after which a process without a run ends
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
ANSWER = 10.0  # seconds in which a scheduler must answer
BACKENDS = ("loky", "dask")


class Engine(Protocol):
    """Starts calls; `away` says that they share no files with this process."""

    away: ClassVar[bool]

    @property
    def capacity(self) -> int:
        """How many calls it makes at a time, now."""
        ...

    def submit(self, function: Callable[..., Any], *of: Any) -> Future[Any]: ...

    def has_died(self, error: BaseException) -> bool:
        """Whether that is what a call raises whose process ended under it."""
        ...

    def stop(self) -> None:
        """Ends the calls under way."""
        ...

    def close(self) -> None:
        """Lets go of the engine, all calls being over."""
        ...


class Loky:
    """Processes of this machine, kept for the next study. One that dies takes the others with it."""

    away: ClassVar[bool] = False

    def __init__(self, jobs: int) -> None:
        self.capacity = jobs
        # When it starts it unblocks signals: later, that would undo `signals_deferred` for the first workers.
        resource_tracker.ensure_running()

    def submit(self, function: Callable[..., Any], *of: Any) -> Future[Any]:
        from joblib.externals.loky.process_executor import BrokenProcessPool

        try:
            return self._executor().submit(function, *of)  # type: ignore[no-any-return]
        except BrokenProcessPool:  # an idle worker died, just now; then a new pool takes the place of the broken one
            return self._executor().submit(function, *of)  # type: ignore[no-any-return]

    def has_died(self, error: BaseException) -> bool:
        from joblib.externals.loky.process_executor import BrokenProcessPool

        return isinstance(error, BrokenProcessPool)

    def stop(self) -> None:
        self._executor().shutdown(wait=True, kill_workers=True)

    def close(self) -> None:
        """The processes stay until they have been idle for long."""

    def _executor(self) -> Any:
        from joblib.externals.loky import get_reusable_executor

        # A worker that has grown by 300 MB ends between two runs and another takes its place: nothing is lost.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
        return get_reusable_executor(
            max_workers=self.capacity,
            timeout=IDLE,
            env=dict.fromkeys(THREADS, "1"),
            initializer=_end_with,
            initargs=(os.getpid(),),
        )


def _end_with(parent: int) -> None:
    """At a worker's start: if its parent were killed, it would go on unseen, beside the same run started anew."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Dask:
    """The workers of a Dask cluster: that at the address, or one of so many processes on this machine."""

    away: ClassVar[bool] = True

    def __init__(self, address: str | None, jobs: int | None) -> None:
        self.distributed: Any = import_module("distributed")
        self.jobs, self.local = jobs, None
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)  # a checkpoint may be some megabytes
        if address is None:
            self.local = _local_cluster(self.distributed, jobs)
        try:
            self.client = self.distributed.Client(self.local or address, timeout=ANSWER, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ConfigError(_unreachable(address, error)) from error
        if not self.client.nthreads() and address is not None:
            self.client.close()
            raise ConfigError(
                f"--cluster {address}: has no workers; start some with `dask worker {address} --nthreads 1`."
            )
        self.client.register_plugin(_unwatched(self.distributed.WorkerPlugin))
        self.executor = self.client.get_executor(pure=False, retries=0)

    @property
    def capacity(self) -> int:
        return self.jobs or sum(self.client.nthreads().values())

    def submit(self, function: Callable[..., Any], *of: Any) -> Future[Any]:
        return self.executor.submit(function, *of)  # type: ignore[no-any-return]

    def has_died(self, error: BaseException) -> bool:
        """After the scheduler has given the call to another worker, three times."""
        return isinstance(error, self.distributed.KilledWorker)

    def stop(self) -> None:
        self.executor.shutdown(wait=False)

    def close(self) -> None:
        self.client.close()
        if self.local is not None:
            self.local.close()


def _local_cluster(distributed: Any, jobs: int | None) -> Any:
    """A cluster of processes that never see signals; at its end it warns of nothing that it stops."""
    resource_tracker.ensure_running()  # as for `Loky`
    with signals_deferred():
        return distributed.LocalCluster(
            jobs,
            threads_per_worker=1,
            dashboard_address=None,
            env=dict.fromkeys(THREADS, "1"),
            silence_logs=logging.ERROR,
        )


def folder_of_worker() -> str | None:
    """The folder that Dask removes when it has to kill this worker; None in a process that is no worker of Dask."""
    with suppress(ImportError, ValueError):
        return str(import_module("distributed").get_worker().local_directory)
    return None


def _unwatched(plugin: Any) -> Any:
    """A plugin that ends Dask's profiler on the workers there are and on those to come.

    It samples what a worker's thread does, and holds the frames it looks at: a tensor that a step has let go stays
    alive a moment longer, and counts in the memory that is forecast.
    """

    class Unwatched(plugin):  # type: ignore[misc]
        name = "hfbench-unwatched"

        def setup(self, worker: Any) -> None:
            for profiler in ("profile", "profile-cycle"):
                if watching := worker.periodic_callbacks.pop(profiler, None):
                    watching.stop()

    return Unwatched()


def engine_of(backend: str, cluster: str | None, jobs: int | None) -> Engine:
    """The engine by its name; `cluster` is the address of one that runs, `jobs` the most calls at a time.

    Raises ConfigError for what is unknown, not installed, not there, or has no workers.
    """
    from hfbench.messages import did_you_mean

    if backend not in BACKENDS:
        near = did_you_mean(backend, BACKENDS)
        raise ConfigError(f"--backend: must be among {', '.join(BACKENDS)}, but got {backend!r}{near}.")
    if backend == "loky":
        if cluster is not None:
            raise ConfigError(f"--cluster: goes with --backend dask, but got {cluster!r} beside loky.")
        import joblib

        return Loky(jobs or int(joblib.cpu_count()))
    if find_spec("distributed") is None:
        raise ConfigError("--backend dask: needs the package distributed; pip install 'hfbench[dask]'.")
    return Dask(cluster, jobs)


def _unreachable(address: str | None, error: BaseException) -> str:
    reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return (
        f"--cluster {address}: no Dask cluster answers there ({reason}); `dask scheduler` starts one and says its "
        "address."
    )
