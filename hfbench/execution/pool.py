"""Pool of runs: a process and a torch thread for each, on this machine or a cluster; results as they come."""

from __future__ import annotations

import gc
import math
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import AbstractContextManager
from typing import Any

from hfbench.config.run_spec import RunSpec
from hfbench.errors import ConfigError
from hfbench.execution.backends import Engine
from hfbench.execution.part_shipping import added_parts
from hfbench.execution.processes import Overdue, ProcessDied, Processes
from hfbench.execution.worker import _job, _job_away
from hfbench.interrupts import is_interrupt, raise_if_interrupted, signals_deferred, signals_kept
from hfbench.messages import printable_line
from hfbench.parts import plugin_errors
from hfbench.records.results_folder import ResultsFolder
from hfbench.records.shorter_runs import ShorterRuns
from hfbench.runs.failure_causes import MACHINE, METHOD, cause_of

NOT_MADE = (
    "The cluster could not make this run: its scheduler may have ended, or its workers lack hfbench in the version of "
    "this machine. What has come back is recorded, and the same command goes on from there."
)
LOOK_EVERY = 0.1  # seconds between two looks at whether a signal came
ENDED = "the process of this run ended before the run"
OVERDUE = "a step did not return"
KILLED = (
    "the process of this run was killed from outside, twice; the usual cause is too little memory. "
    "Set methods.<name>.max_bytes, or run fewer jobs."
)


def why_ended(error: Exception) -> str:
    """What a run says whose process ended before it did."""
    return f"{OVERDUE if isinstance(error, Overdue) else ENDED}: {error}"


def run_all(
    specs: Mapping[str, RunSpec],
    setting: ResultsFolder,
    jobs: int,
    engine: Engine | None = None,
    shorter: ShorterRuns | None = None,
) -> Iterator[dict[str, Any]]:
    """Runs every spec (by key) and yields the results as they end: on the engine, else so many at a time here."""
    leading = {key: spec for key, spec in specs.items() if not spec.follows}
    following = {key: spec for key, spec in specs.items() if spec.follows}
    with Pool(setting, jobs, engine, shorter) as pool:
        for turn in (leading, following):  # a batch trace must be there before it can be met again
            yield from pool.results(turn)


class Pool(AbstractContextManager["Pool"]):
    """Processes that make runs, so many at a time; with one job and no engine, this process makes them.

    A run whose process is killed from outside may have lacked memory: it is tried once more, alone, and recorded as
    failed if it is killed again. A cluster gives the run of a worker that died to another by itself.
    """

    def __init__(
        self,
        setting: ResultsFolder,
        jobs: int,
        engine: Engine | None = None,
        shorter: ShorterRuns | None = None,
    ) -> None:
        """Runs go on from `shorter` ones."""
        if jobs < 1:
            raise ConfigError(f"jobs must be at least 1, but got {jobs}.")
        self.setting = setting
        self.shorter = shorter or ShorterRuns(setting.results)
        self.engine = engine or (Processes(jobs) if jobs > 1 else None)
        self._running: dict[Any, tuple[str, RunSpec]] = {}  # by future
        self._suspects: list[tuple[str, RunSpec]] = []  # killed once
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
        with signals_deferred():
            future = Waiting() if self.engine is None else self._begun(self.engine, key, spec)
            self._running[future] = key, spec

    def next(self) -> dict[str, Any]:
        """The result of a run that was submitted, as soon as there is one."""
        while True:
            if self.engine is None:
                return self._here(*self._running.pop(next(iter(self._running))))
            self._try_a_suspect()
            done: set[Any] = set()
            while not done:
                raise_if_interrupted()
                done, _ = wait(self._running, LOOK_EVERY, FIRST_COMPLETED)
            result = self._given(self.engine, next(iter(done)))
            if result is not None:
                return result

    def results(self, specs: Mapping[str, RunSpec]) -> Iterator[dict[str, Any]]:
        """Makes all of these runs (by key); their results as they come."""
        waiting = list(specs.items())[::-1]  # the caller may drop what has ended

        def begin() -> None:
            while waiting and self.free:
                self.submit(*waiting.pop())

        begin()
        while self.busy:
            result = self.next()
            begin()  # not when the caller has dealt with the result
            yield result

    def _here(self, key: str, spec: RunSpec) -> dict[str, Any]:
        from hfbench.runs.attempt import attempt

        setting = self.setting
        kept = setting.study, setting.data, setting.checkpoint_every
        begun = self.shorter.of(spec)
        return attempt(spec, setting.folder(key), *kept, shorter=begun, keep_weights=setting.keep_weights)

    def _given(self, engine: Engine, future: Any) -> dict[str, Any] | None:
        """The result of a run; None if its process was killed and it is to be tried again."""
        key, spec = self._running.pop(future)
        alone, self._alone = self._alone, False
        try:
            result: dict[str, Any]
            result, contents = future.result()
        except Overdue as overdue:
            return self._failed(key, spec, why_ended(overdue), METHOD)
        except BaseException as error:
            if not engine.has_died(error):
                if engine.away:
                    said = f"{type(error).__name__}: {printable_line(str(error))}".rstrip(": .")
                    raise ConfigError(f"{spec.name}: {said}. {NOT_MADE}") from error
                if is_interrupt(error):
                    raise
                # Its process could not record its failure: it may have limited its files or its memory.
                return self._failed(key, spec, plugin_errors.reason(error), cause_of(error))
            if isinstance(error, ProcessDied) and error.status != -signal.SIGKILL:
                return self._failed(key, spec, why_ended(error), METHOD)
            if alone or engine.away:  # a cluster has tried it again
                return self._failed(key, spec, KILLED, MACHINE)
            self._suspects.append((key, spec))
            return None
        if contents is not None:
            self.setting.folder(key).put(contents)
        return result

    def _failed(self, key: str, spec: RunSpec, why: str, cause: str) -> dict[str, Any]:
        from hfbench.runs.attempt import record_failure

        return record_failure(spec, self.setting.folder(key), self.setting.study, why, why, cause)

    def _try_a_suspect(self) -> None:
        if self._suspects and not self._running:
            self.submit(*self._suspects.pop())
            self._alone = True

    def _begun(self, engine: Engine, key: str, spec: RunSpec) -> Any:
        """The future of a run that a worker has been given."""
        shorter = self.shorter.of(spec)
        begun = shorter.key if shorter is not None else ""
        parts = added_parts([spec])  # no file of another method's part is run
        if not engine.away:
            limit = spec.budget.get("seconds", math.inf)
            return engine.submit(_job, key, spec, self.setting, parts, begun, limit=limit)
        folders = [self.setting.folder(run) for run in (key, spec.follows, begun) if run]
        known = {folder.key: folder.contents() for folder in folders if folder.path.is_dir()}
        return engine.submit(_job_away, key, spec, self.setting, [part.sent() for part in parts], known, begun)

    def __enter__(self) -> Pool:
        """Every run collects garbage before it begins, a tenth of a second through libraries: they are left out."""
        gc.freeze()
        return self

    def __exit__(self, kind: type[BaseException] | None, *of: object) -> None:
        """Ends the workers if the block ended in the middle of runs."""
        gc.unfreeze()
        if self._running and self.engine is not None:
            with signals_kept():
                self.engine.stop()


class Waiting:
    """In place of a future where this process makes the run when its result is asked for."""
