"""Progress of a study: bars on a terminal, one line per finished run elsewhere. Only the parent process draws."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from hfbench.records.run_folder import RunFolder

BAR = 14  # characters
SILENT = 10.0  # seconds after which a command that goes through many things says how far it is


@contextmanager
def counting(console: Console, doing: str, total: int) -> Iterator[Counting]:
    """Shows how many of so many things are done: on a terminal all the time, elsewhere in a line now and then."""
    said = time.monotonic()
    with console.status(doing) as status:

        def done(n: int, of: int = total) -> None:
            nonlocal said
            if console.is_terminal:
                status.update(f"{doing}: {n} of {of}")
            elif n < of and time.monotonic() - said >= SILENT:
                said = time.monotonic()
                console.print(f"{doing}: {n} of {of}", highlight=False, soft_wrap=True)

        yield done


class Counting(Protocol):
    def __call__(self, n: int, of: int = ...) -> None:
        """So many are done, of as many as is known by now."""
        ...


class Report(Protocol):
    def ended(self, result: Mapping[str, Any]) -> None:
        """One run is over."""
        ...


@contextmanager
def progress(console: Console, results: Path, keys: Iterable[str], done: int, total: int) -> Iterator[Report]:
    """Shows the runs `keys`, of `total` with `done` recorded before, until the block ends."""
    if not console.is_terminal:
        yield RunLines(console, done, total)
        return
    with RunBars(console, results, keys, done, total) as bars:
        yield bars


class RunLines:
    """`[ 3/14] hf/usps/s1: reached after 12.3 passes, 8.1 s`."""

    def __init__(self, console: Console, done: int, total: int) -> None:
        self.console, self.done, self.total = console, done, total

    def ended(self, result: Mapping[str, Any]) -> None:
        self.done += 1
        width = len(str(self.total))
        line = f"[{self.done:{width}}/{self.total}] {describe_run(result)}"
        self.console.print(line, highlight=False, soft_wrap=True)


def bar_columns() -> tuple[ProgressColumn, ...]:
    """A name, a bar, a note and the time; on a narrow screen name and note are shortened."""
    bar, elapsed = BarColumn(bar_width=BAR, table_column=unshrunk()), TimeElapsedColumn(table_column=unshrunk())
    return Shortened("{task.description}"), bar, Shortened("{task.fields[note]}"), elapsed


def unshrunk() -> Column:
    """A column that keeps its width while others have some to give."""
    return Column(no_wrap=True)


class Shortened(TextColumn):
    """Text on one line, which ends in `…` where there is no room for it."""

    def __init__(self, text: str) -> None:
        super().__init__(text, markup=False, table_column=Column())

    def render(self, task: Task) -> Text:
        text = super().render(task)
        text.no_wrap, text.overflow = True, "ellipsis"
        return text


class RunBars(Progress):
    """A bar for the study, and one for each run under way, read from the runs' own reports twice a second."""

    def __init__(self, console: Console, results: Path, keys: Iterable[str], done: int, total: int) -> None:
        self.folders = {key: RunFolder(results, key) for key in keys}
        self.bars: dict[str, TaskID] = {}
        self.done, self.total, self.since = done, total, time.time()
        super().__init__(*bar_columns(), console=console, refresh_per_second=4)
        self._changing, self._over = threading.Lock(), threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self.whole = self.add_task("all runs", total=total, completed=done, note=f"{done}/{total}")

    def start(self) -> None:
        super().start()
        self._reader.start()

    def stop(self) -> None:
        self._over.set()
        self._reader.join()
        super().stop()

    def ended(self, result: Mapping[str, Any]) -> None:
        with self._changing:
            self.folders.pop(result["key"], None)
            bar = self.bars.pop(result["key"], None)
            if bar is not None:
                self.remove_task(bar)
        self.console.print(describe_run(result), highlight=False)
        self.done += 1
        self.update(self.whole, completed=self.done, note=f"{self.done}/{self.total}")

    def _read(self) -> None:
        while not self._over.wait(0.5):
            with self._changing:
                self.read_reports()

    def read_reports(self) -> None:
        """Brings the bars up to date with the reports made since the study began."""
        for key, folder in self.folders.items():
            report = folder.progress(self.since)
            if report is None:
                continue
            if key not in self.bars:
                self.bars[key] = self.add_task(str(report["name"]), total=1.0, note="")
            self.update(self.bars[key], completed=min(1.0, report.get("spent", 0.0)), note=note(report))


def note(report: Mapping[str, Any]) -> str:
    """`iteration 12, validation error 15.2 (target 12)`."""
    if "error" not in report:
        return "starting"
    error = f"{report['target_on']} error {report['error']:.4g}"
    return f"iteration {report['iteration']}, {error} (target {report['target']:g})"


def describe_run(result: Mapping[str, Any]) -> str:
    """One run in one line."""
    name = f"{result['method']}/{result['task']}/s{result['seed']}"
    if result["outcome"] == "failed":
        return f"{name}: failed: {result['error']}"
    whole = f"after {result['work']:.4g} passes, {result['seconds']:.3g} s"
    error = f"test error {result['final_test_error']:.4g}"
    if result["outcome"] == "diverged":
        return f"{name}: diverged {whole}"
    if result["outcome"] == "budget":
        return f"{name}: budget spent {whole}, {error}"
    reached = f"{name}: reached the target after {result['work_to_target']:.4g} passes"
    stopped = result["work"] == result["work_to_target"]
    return f"{reached}, {result['seconds']:.3g} s" if stopped else f"{reached}, ended {whole}, {error}"
