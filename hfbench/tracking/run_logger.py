"""Logger of a study's runs in MLflow: each when it has ended, and a long one while it runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console

from hfbench.config.run_spec import RunSpec
from hfbench.interrupts import raise_if_interrupted
from hfbench.messages import printable_line
from hfbench.records.results_folder import ResultsFolder
from hfbench.tracking.mlflow_store import Tracker
from hfbench.tracking.params import columns, flat_params

POINT_EVERY = 20.0  # seconds from a run's beginning to its first point, and on to the next: a shorter run has none
LONGEST = 1000  # characters of an error on the screen
TOGETHER = 200  # runs in one transaction: 100 000 points of metrics, which SQLite sorts into its indices at once
LOOK_EVERY = 5.0  # seconds between two looks at the runs' reports


class RunLogger:
    """Logs runs to MLflow; what fails to be logged is logged by the next invocation."""

    def __init__(
        self, tracker: Tracker, specs: Mapping[str, RunSpec], setting: ResultsFolder, console: Console
    ) -> None:
        configs = {key: spec.config() for key, spec in specs.items()}
        but_for_seeds = {(spec.task, spec.method.name): configs[key] for key, spec in specs.items()}
        kept = columns(but_for_seeds.values())  # the seed has a column anyway
        self.params = {
            key: {name: value for name, value in flat_params(config).items() if name in kept}
            for key, config in configs.items()
        }
        self.tracker, self.setting, self.console = tracker, setting, console
        self._writing = threading.Lock()

    def ended(self, key: str) -> None:
        try:
            with self._writing:
                self.tracker.log_run(self.setting.folder(key), self.params[key])
        except Exception as error:  # the record on disk is complete: a busy or unreachable store must not end the study
            said = f"{type(error).__name__}: {printable_line(str(error), LONGEST)}"
            self.console.print(f"{key} is recorded but not in MLflow yet: {said}")

    def recorded(self, keys: Sequence[str]) -> Iterator[int]:
        """Logs runs that ended before, many at a time in the own store; yields how many of them are dealt with."""
        for first in range(0, len(keys), TOGETHER):
            together = keys[first : first + TOGETHER]
            if not self._logged_at_once(together):
                for key in together:
                    raise_if_interrupted()
                    self.ended(key)
            yield first + len(together)

    def _logged_at_once(self, keys: Sequence[str]) -> bool:
        """Whether all of these runs are logged now; trouble with one of them, or with the store, is told one by one."""
        if not self.tracker.own:
            return False
        with suppress(Exception), self._writing:
            self.tracker.log_runs({self.setting.folder(key): self.params[key] for key in keys})
            return True
        return False

    @contextmanager
    def follow(self, keys: Iterable[str]) -> Iterator[None]:
        """Logs the newest rows of those of the runs that are under way, from a thread, until the block ends."""
        over, keys, since = threading.Event(), list(keys), time.time()
        if keys:
            with suppress(Exception):  # no trouble with the store may end the study
                self.tracker.begin()
        thread = threading.Thread(target=self._follow, args=(keys, since, over), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            with suppress(Exception):
                self.tracker.abandon()

    def _follow(self, keys: list[str], since: float, over: threading.Event) -> None:
        due: dict[str, float] = {}
        while not over.wait(LOOK_EVERY):
            for key in keys:
                report = self.setting.folder(key).progress(since)
                if report is None:
                    continue
                now = time.monotonic()
                if now >= due.setdefault(key, now + POINT_EVERY) and self._under_way(key, report):
                    due[key] = now + POINT_EVERY

    def _under_way(self, key: str, report: Mapping[str, Any]) -> bool:
        """Logs the row of a report; whether it was new."""
        if "error" not in report:  # it has only begun
            return False
        with suppress(Exception), self._writing:  # when the run has ended, all of it is logged
            if self.setting.folder(key).result() is None:
                return self.tracker.log_row(key, self.params[key], report)
        return False
