"""Runs side by side: one process and one torch thread each, results in the order they come."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hfbench import registry
from hfbench.errors import ConfigError
from hfbench.runspec import RunSpec
from hfbench.store import RunFolder

CHANGED = (
    "the source of the numerics or of a part changed while the study was running, so this run would not be what it is "
    "recorded as. Give the command again."
)
KILLED = (
    "the process of this run was killed from outside, twice; the usual cause is too little memory. "
    "Set methods.<name>.chunk, or run fewer jobs."
)
CHECKPOINT_EVERY = 4.0  # seconds; one takes 15 to 30 ms


@dataclass(frozen=True)
class Setting:
    """What all jobs of a study share."""

    results: Path
    study: str
    data: str | None = None
    checkpoint_every: float = CHECKPOINT_EVERY

    def folder(self, key: str) -> RunFolder:
        return RunFolder(self.results, key)


def run_all(specs: Mapping[str, RunSpec], setting: Setting, jobs: int) -> Iterator[dict[str, Any]]:
    """Runs every spec (by key) and yields the results as they end. With one job, in this process.

    A worker that dies takes the whole pool with it: the runs that were under way are then tried alone, and one that
    dies again is recorded as failed; the others go on.
    """
    if jobs < 1:
        raise ConfigError(f"jobs must be at least 1, but got {jobs}.")
    leading = {key: spec for key, spec in specs.items() if not spec.follows}
    following = {key: spec for key, spec in specs.items() if spec.follows}
    for turn in (leading, following):  # a batch trace must be there before it can be met again
        yield from _one_by_one(turn, setting) if jobs == 1 else _in_parallel(turn, setting, jobs)


def _one_by_one(specs: Mapping[str, RunSpec], setting: Setting) -> Iterator[dict[str, Any]]:
    from hfbench.experiment import attempt

    for key, spec in specs.items():
        yield attempt(spec, setting.folder(key), setting.study, setting.data, setting.checkpoint_every)


def _in_parallel(specs: Mapping[str, RunSpec], setting: Setting, jobs: int) -> Iterator[dict[str, Any]]:
    from hfbench.experiment import record_failure

    pending = dict(specs)
    while pending:
        began = time.time()
        for result in _pool(pending, setting, jobs):
            del pending[result["key"]]
            yield result
        for key in _under_way(pending, setting, began):
            spec = pending.pop(key)
            alone = list(_pool({key: spec}, setting, jobs))
            yield alone[0] if alone else record_failure(spec, setting.folder(key), setting.study, KILLED, KILLED)


def _pool(specs: Mapping[str, RunSpec], setting: Setting, jobs: int) -> Iterator[dict[str, Any]]:
    """Results until all are there or a worker dies."""
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    parts, waiting = added_parts(specs.values()), list(specs.items())  # the caller drops what has ended
    warnings.filterwarnings("ignore", r"\d+ tasks which were still being processed", UserWarning)  # as Ctrl-C wants it
    # No run is handed out before a worker is free: Ctrl-C would trip over those that wait in the executor's queue.
    parallel = Parallel(
        n_jobs=jobs, backend="loky", return_as="generator_unordered", pre_dispatch="n_jobs", batch_size=1
    )
    try:
        yield from parallel(delayed(_job)(key, spec, setting, parts, os.getpid()) for key, spec in waiting)
    except TerminatedWorkerError:
        return


def _under_way(specs: Mapping[str, RunSpec], setting: Setting, since: float) -> list[str]:
    """The runs that have reported since then and not ended; at least one, so that each round gets further."""
    running = [key for key in specs if setting.folder(key).progress(since) is not None]
    return running or list(specs)[:1]


# ---------------------------------------------------------------- in the worker


def _job(key: str, spec: RunSpec, setting: Setting, parts: list[AddedPart], parent: int) -> dict[str, Any]:
    from hfbench.experiment import attempt, record_failure

    _end_with(parent)
    for part in parts:
        part.add()
    folder = setting.folder(key)
    if spec.key() != key:
        return record_failure(spec, folder, setting.study, CHANGED, CHANGED)
    return attempt(spec, folder, setting.study, setting.data, setting.checkpoint_every)


@cache
def _end_with(parent: int) -> None:
    """Once per worker: one whose parent was killed would go on unseen beside the same run started anew."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@dataclass(frozen=True)
class AddedPart:
    """A part registered for one process only, and how another process finds it."""

    family: str
    name: str
    module: str
    qualname: str
    file: str

    def add(self) -> None:
        module = sys.modules.get(self.module) or self._load()
        found: Any = module
        for name in self.qualname.split("."):
            found = getattr(found, name)
        registry.add(self.family, self.name, found)

    def _load(self) -> Any:
        spec = importlib.util.spec_from_file_location(self.module, self.file)
        if spec is None or spec.loader is None:
            raise ConfigError(f"{self.family} {self.name!r}: its file {self.file} must be a Python file.")
        module = sys.modules[self.module] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


def added_parts(specs: Any) -> list[AddedPart]:
    """The parts used that workers would not find by themselves.

    Raises ConfigError for one that is in no file or in the running script: other processes cannot load it.
    """
    used = {(family, settings["use"]) for spec in specs for family, settings in spec.parts()}
    parts = []
    for family, name in sorted(used):
        part, origin = registry.get(family, name), registry.origin(family, name)
        unfindable = origin == f"{part.__module__}.{part.__qualname__}"  # as `registry.origin` says where no file is
        if not unfindable and not Path(origin).is_file():
            continue  # installed: found by name everywhere
        if unfindable or part.__module__ == "__main__":
            raise ConfigError(
                f"{family} {name!r} is defined in {origin}, where other processes cannot load it: "
                "put it in a file of its own, or run with one job."
            )
        parts.append(AddedPart(family, name, part.__module__, part.__qualname__, origin))
    return parts
