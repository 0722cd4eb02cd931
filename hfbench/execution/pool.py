"""Runs side by side: one process and one torch thread each, on this machine or a cluster, results as they come."""

from __future__ import annotations

import atexit
import gc
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from hfbench.config.run_spec import RunSpec
from hfbench.errors import ConfigError
from hfbench.execution.backends import Engine, Loky
from hfbench.execution.interrupts import undisturbed
from hfbench.parts import plugin_errors, registry
from hfbench.parts.plugin_files import import_file
from hfbench.records.run_folder import Contents, RunFolder

CHANGED = (
    "the source of the numerics or of a part changed while the study was running, so this run would not be what it is "
    "recorded as. Give the command again."
)
ELSEWHERE = (
    "the worker on {host} has another version of hfbench, of a part or of the data than this machine, so this run "
    "would not be what it is recorded as. Install the same there and give the command again."
)
NOT_MADE = (
    "The cluster could not make this run: its scheduler may have ended, or its workers lack hfbench in the version of "
    "this machine. What has come back is recorded, and the same command goes on from there."
)
UNLOADED = "a file of parts could not be loaded in a process of its own, as --jobs 2 and more needs:"
KILLED = (
    "the process of this run was killed from outside, twice; the usual cause is too little memory. "
    "Set methods.<name>.max_bytes, or run fewer jobs."
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


def run_all(
    specs: Mapping[str, RunSpec], setting: Setting, jobs: int, engine: Engine | None = None
) -> Iterator[dict[str, Any]]:
    """Runs every spec (by key) and yields the results as they end: on the engine, else so many at a time here."""
    leading = {key: spec for key, spec in specs.items() if not spec.follows}
    following = {key: spec for key, spec in specs.items() if spec.follows}
    with Pool(setting, jobs, added_parts(specs.values()) if jobs > 1 or engine else [], engine) as pool:
        for turn in (leading, following):  # a batch trace must be there before it can be met again
            yield from pool.results(turn)


class Pool(AbstractContextManager["Pool"]):
    """Processes that make runs, so many at a time; with one job and no engine, this process makes them.

    A worker of this machine that dies takes the others with it: the runs that were under way are then tried alone, one
    after the other, and one that dies again is recorded as failed. A cluster gives the run of a worker that died to
    another by itself.
    """

    def __init__(
        self, setting: Setting, jobs: int, parts: Sequence[AddedPart] = (), engine: Engine | None = None
    ) -> None:
        """`parts` are those that workers would not find by themselves."""
        if jobs < 1:
            raise ConfigError(f"jobs must be at least 1, but got {jobs}.")
        self.setting, self.parts = setting, list(parts)
        self.engine = engine or (Loky(jobs) if jobs > 1 else None)
        self._running: dict[Any, tuple[str, RunSpec]] = {}  # by future
        self._suspects: list[tuple[str, RunSpec]] = []  # under way when a worker died
        self._alone = False  # a suspect is being tried

    @property
    def busy(self) -> bool:
        """Whether a run has been submitted whose result has not been given."""
        return bool(self._running or self._suspects)

    @property
    def free(self) -> int:
        """How many runs may be submitted now: none waits for another, since Ctrl-C would trip over it."""
        most = self.engine.capacity if self.engine else 1
        return 0 if self._suspects or self._alone else max(most - len(self._running), 0)

    def submit(self, key: str, spec: RunSpec) -> None:
        with undisturbed():
            future = Waiting() if self.engine is None else self._begun(self.engine, key, spec)
            self._running[future] = key, spec

    def next(self) -> dict[str, Any]:
        """The result of a run that was submitted, as soon as there is one."""
        while True:
            if self.engine is None:
                return self._here(*self._running.pop(next(iter(self._running))))
            self._try_a_suspect()
            done, _ = wait(self._running, return_when=FIRST_COMPLETED)
            result = self._given(self.engine, next(iter(done)))
            if result is not None:
                return result

    def results(self, specs: Mapping[str, RunSpec]) -> Iterator[dict[str, Any]]:
        """Makes all of these runs (by key); their results as they come."""
        waiting = list(specs.items())[::-1]  # the caller may drop what has ended
        while waiting or self.busy:
            while waiting and self.free:
                self.submit(*waiting.pop())
            yield self.next()

    def _here(self, key: str, spec: RunSpec) -> dict[str, Any]:
        from hfbench.runs.attempt import attempt

        return attempt(
            spec, self.setting.folder(key), self.setting.study, self.setting.data, self.setting.checkpoint_every
        )

    def _given(self, engine: Engine, future: Any) -> dict[str, Any] | None:
        """What a run's process gave; None if it died, when the run is tried again if it was not alone."""
        from hfbench.runs.attempt import record_failure

        key, spec = self._running.pop(future)
        alone, self._alone = self._alone, False
        try:
            result: dict[str, Any]
            result, contents = future.result()
        except Exception as error:
            if not engine.has_died(error):
                if engine.away:
                    raise ConfigError(f"{spec.name}: {type(error).__name__}: {error}. {NOT_MADE}") from error
                raise
            if alone or engine.away:  # a cluster has tried it again
                return record_failure(spec, self.setting.folder(key), self.setting.study, KILLED, KILLED)
            self._suspects.append((key, spec))
            return None
        if contents is not None:
            self.setting.folder(key).put(contents)
        return result

    def _try_a_suspect(self) -> None:
        if self._suspects and not self._running:
            self.submit(*self._suspects.pop())
            self._alone = True

    def _begun(self, engine: Engine, key: str, spec: RunSpec) -> Any:
        """The future of a run that a worker has been given."""
        if not engine.away:
            return engine.submit(_job, key, spec, self.setting, self.parts, os.getpid())
        folders = [self.setting.folder(one) for one in (key, spec.follows) if one]
        known = {folder.key: folder.contents() for folder in folders if folder.path.is_dir()}
        return engine.submit(_job_away, key, spec, self.setting, [part.sent() for part in self.parts], known)

    def __enter__(self) -> Pool:
        """Every run collects garbage before it begins, a tenth of a second through libraries: they are left out."""
        gc.freeze()
        return self

    def __exit__(self, kind: type[BaseException] | None, *of: object) -> None:
        """Ends the workers if the block ended in the middle of runs."""
        gc.unfreeze()
        if self._running and self.engine is not None:
            with undisturbed():
                while not self.engine.away and any(not (one.running() or one.done()) for one in self._running):
                    time.sleep(0.01)  # loky stumbles over a run that no worker has taken yet
                self.engine.stop()


class Waiting:
    """In place of a future where this process makes the run when its result is asked for."""


# ---------------------------------------------------------------- in the worker


def _job(key: str, spec: RunSpec, setting: Setting, parts: list[AddedPart], parent: int) -> tuple[dict[str, Any], None]:
    """A run on this machine."""
    _end_with(parent)
    result = _made(key, spec, setting, parts, CHANGED)
    _freeze()
    return result, None


TAKING_TURNS = threading.Lock()  # a worker of a cluster may have threads, but its parts and torch threads are one


def _job_away(
    key: str, spec: RunSpec, setting: Setting, parts: list[SentPart], known: Mapping[str, Contents]
) -> tuple[dict[str, Any], Contents]:
    """A run on another machine, in a folder of its own, begun with what is recorded of it and of the run it follows."""
    with TAKING_TURNS, tempfile.TemporaryDirectory(prefix="hfbench-run-") as folder:
        there = Setting(Path(folder), setting.study, setting.data, setting.checkpoint_every)
        for one, contents in known.items():
            there.folder(one).put(contents)
        added = [part.kept() for part in parts]
        result = _made(key, spec, there, added, ELSEWHERE.format(host=socket.gethostname()))
        return result, there.folder(key).contents()


def _made(key: str, spec: RunSpec, setting: Setting, parts: Sequence[AddedPart], changed: str) -> dict[str, Any]:
    from hfbench.runs.attempt import attempt, record_failure

    folder = setting.folder(key)
    registry.forget()  # those of another study, for which this process was started
    try:
        for part in parts:
            part.add()
    except (Exception, SystemExit) as error:
        return record_failure(
            spec, folder, setting.study, f"{UNLOADED} {plugin_errors.reason(error)}", plugin_errors.report(error)
        )
    if spec.key() != key:
        return record_failure(spec, folder, setting.study, changed, changed)
    return attempt(spec, folder, setting.study, setting.data, setting.checkpoint_every)


@cache
def _freeze() -> None:
    """Once per worker, when a run has loaded all libraries; see `Pool.__enter__`."""
    gc.collect()
    gc.freeze()


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
        if self.module not in sys.modules:
            import_file(self.module, self.file)
        found: Any = sys.modules[self.module]
        for name in self.qualname.split("."):
            found = getattr(found, name)
        registry.add(self.family, self.name, found)

    def sent(self) -> SentPart:
        """With its source, for a machine that does not have the file."""
        return SentPart(self, Path(self.file).read_bytes())


@dataclass(frozen=True)
class SentPart:
    """A part added here, and the source of its file."""

    part: AddedPart
    source: bytes

    def kept(self) -> AddedPart:
        """The part, its file put where it stays as long as this process."""
        file = _sources() / f"{self.part.module}.py"
        file.write_bytes(self.source)
        return replace(self.part, file=str(file))


@cache
def _sources() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="hfbench-parts-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def added_parts(specs: Iterable[RunSpec]) -> list[AddedPart]:
    """The parts used that workers would not find by themselves: those added in this process, installed ones are found.

    Raises ConfigError for one that is in no file or in the running script: other processes cannot load it.
    """
    return loadable({(family, settings["use"]) for spec in specs for family, settings in spec.parts()})


def loadable(used: Set[tuple[str, str]]) -> list[AddedPart]:
    """Those of the parts, by (family, name), that were added in this process. Raises as `added_parts` does."""
    added = registry.added()
    parts = []
    for family, name in sorted(used & added.keys()):
        part, file = added[family, name], registry.origin(family, name)
        in_file = Path(file).is_file()  # what is typed may claim one that is none, "<stdin>"
        if not in_file or part.__module__ == "__main__":
            where = f"{file}, the running script" if in_file else f"no file ({part.__module__}.{part.__qualname__})"
            raise ConfigError(
                f"{family} {name!r} must be in a file that other processes can load, but is defined in {where}: put "
                "it in a file of its own (--plugin FILE, or load_study(…, plugin_files=[FILE])), or run with one job "
                "(jobs=1)."
            )
        parts.append(AddedPart(family, name, part.__module__, part.__qualname__, file))
    return parts
