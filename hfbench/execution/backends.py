"""Backends of a pool of runs: processes of this machine, or the workers of a Dask cluster.

Both give `concurrent.futures` futures, so that a pool of runs (`hfbench.execution.pool`) is the same for each. On
this machine a run writes its own folder. Elsewhere there need be no common file system: a run is sent with what is
recorded of it, is made in a folder of the worker's own, and the folder comes back as the result.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import resource_tracker
from typing import Any, ClassVar, Protocol

from hfbench.errors import ConfigError
from hfbench.execution.fork_server import THREADS
from hfbench.execution.processes import Processes
from hfbench.interrupts import signals_deferred
from hfbench.messages import printable_line, quoted

ANSWER = 10.0  # seconds in which a scheduler must answer
LOGGERS = ("distributed", "tornado", "asyncio")  # of Dask; asyncio names the tasks that nobody asks any more
HERE, DASK = BACKENDS = ("processes", "dask")


class Engine(Protocol):
    """Starts calls; `away` says that they share no files with this process."""

    away: ClassVar[bool]

    @property
    def capacity(self) -> int:
        """How many calls it makes at a time, now."""
        ...

    def prepare(self) -> None:
        """Begins what calls will need, so that the first need not wait for it."""
        ...

    def submit(self, function: Callable[..., Any], *of: Any, limit: float = math.inf) -> Future[Any]:
        """function(*of); `limit` are the seconds on a run's clock far beyond which it is ended, if `away` is not."""
        ...

    def has_died(self, error: BaseException) -> bool:
        """Whether that is what a call raises whose process ended under it."""
        ...

    def stop(self) -> None:
        """Ends the calls under way."""
        ...

    def close(self) -> None:
        """Lets go of the engine, all calls being over."""
        ...


class Dask:
    """The workers of a Dask cluster: that at the address, or one of so many processes on this machine."""

    away: ClassVar[bool] = True

    def __init__(self, address: str | None, jobs: int | None) -> None:
        self.distributed: Any = import_module("distributed")
        _silence()
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
        with self._answering():
            return self.jobs or sum(self.client.nthreads().values())

    def prepare(self) -> None:
        """Its workers are there."""

    def submit(self, function: Callable[..., Any], *of: Any, limit: float = math.inf) -> Future[Any]:
        with self._answering():
            return self.executor.submit(function, *of)  # type: ignore[no-any-return]

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Turns what a call to a scheduler that has ended raises into a ConfigError."""
        try:
            yield
        except (OSError, RuntimeError, self.distributed.client.ClosedClientError) as error:
            raise ConfigError(
                f"--backend dask: the scheduler must answer, but: {_reason(error)}. What has come back is recorded, "
                "and the same command goes on from there."
            ) from error

    def has_died(self, error: BaseException) -> bool:
        """After the scheduler has given the call to another worker, three times."""
        return isinstance(error, self.distributed.KilledWorker)

    def stop(self) -> None:
        self.executor.shutdown(wait=False)

    def close(self) -> None:
        self.client.close()
        if self.local is not None:
            self.local.close()


def _silence() -> None:
    """Lets Dask log nothing in this process: of a scheduler that ends it says so with the tracebacks of all that waits.

    What that costs a study is said by the pool, in one sentence.
    """
    below = tuple(f"{root}." for root in LOGGERS)
    known = [name for name in logging.root.manager.loggerDict if name.startswith(below)]
    for name in (*LOGGERS, *known):  # some have levels of their own; one made later has that of its root
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _local_cluster(distributed: Any, jobs: int | None) -> Any:
    """A cluster of processes that never see signals; at its end it warns of nothing that it stops."""
    resource_tracker.ensure_running()  # as for `Processes`
    with signals_deferred():
        return distributed.LocalCluster(
            jobs,
            threads_per_worker=1,
            dashboard_address=None,
            env=dict.fromkeys(THREADS, "1"),
            silence_logs=logging.CRITICAL,  # a run that could not be made says so itself
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
        raise ConfigError(f"--backend: must be among {', '.join(BACKENDS)}, but got {quoted(backend)}{near}.")
    if backend == HERE:
        if cluster is not None:
            raise ConfigError(f"--cluster: goes with --backend dask, but got {quoted(cluster)} beside {HERE}.")
        import joblib

        return Processes(jobs or int(joblib.cpu_count()))
    if find_spec("distributed") is None:
        raise ConfigError("--backend dask: needs the package distributed; pip install 'hfbench[dask]'.")
    return Dask(cluster, jobs)


def _reason(error: BaseException) -> str:
    return printable_line((str(error).splitlines() or [type(error).__name__])[0]).rstrip(".")


def _unreachable(address: str | None, error: BaseException) -> str:
    return (
        f"--cluster {address}: no Dask cluster answers there ({_reason(error)}); `dask scheduler` starts one and says "
        "its address."
    )
