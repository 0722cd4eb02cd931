"""Overhead of hfbench besides the training: start of a command, and records of a run.

Start-up is the time of a fresh process, next to that of Python and of torch; `hfbench --help` imports neither torch nor
MLflow. A run of real steps, each padded to the same length, is made by the code of `hfbench run`: trace, checkpoints,
progress reports, points during the run, the final record. The time in all of these calls is given as a share of the
run's wall time. On a busy machine the processor time of the calls is the better measure.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from hfbench.commands.run import run_study
from hfbench.config.load import load_study
from hfbench.records.run_folder import RunFolder
from hfbench.report import study_figures
from hfbench.runs.run import LiveRun
from hfbench.tracking.mlflow_store import Tracker

from .runner import Options, Row

TITLE = "Start-up, and what the records of a run cost"
COLUMNS = {
    "of": "of",
    "what": "what",
    "calls": "calls",
    "wall": "wall ms",
    "processor": "processor ms",
    "share": "% of run",
    "processor_share": "% in processor",
}
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import torch": ["-c", "import torch"],
    "import hfbench": ["-c", "import hfbench"],
    "HessianFree": ["-c", "from hfbench import HessianFree"],
    "hfbench --help": ["-m", "hfbench.cli.main", "--help"],
    "hfbench list": ["-m", "hfbench.cli.main", "list"],
}
RECORDING = [
    *((RunFolder, name) for name in ("create", "reopen", "report", "progress", "save_checkpoint", "finish", "result")),
    *((LiveRun, name) for name in ("_record", "progress", "state_dict")),
    *((Tracker, name) for name in ("log_row", "log_run")),
]
LONG = """
[study]
name = "long"
question = "What do records cost?"
tasks = ["padded"]
seeds = 1
budget = {{ iterations = {iterations} }}
baseline = "lsmr"
targets = {{ padded = 1e-9 }}

[tasks.padded]
use = "{task}"
cases = 1000

[methods.lsmr]
solver = "lsmr"
preconditioner = "martens"
max_inner = 3
scheduler = {{ use = "fixed", gradient = 0.02, curvature = 0.02 }}
"""


def rows(options: Options) -> Iterator[Row]:
    for what, command in COMMANDS.items():
        yield start_up(what, [sys.executable, *command], repeats=1 if options.quick else 7)
    with tempfile.TemporaryDirectory() as folder:
        if options.quick:
            yield from of_a_run("curves-small", 10, 0.02, Path(folder))
        else:
            for task in ("curves-small", "curves"):
                yield from of_a_run(task, 400, 0.1, Path(folder))


# ---------------------------------------------------------------- until a command begins


def start_up(what: str, command: list[str], repeats: int) -> Row:
    """Medians over fresh processes, after one that does not count."""
    spent = [_process(command) for _ in range(repeats + 1)][1:]
    wall, processor = (1e3 * statistics.median(times) for times in zip(*spent, strict=True))
    return {"of": "start-up", "what": what, "calls": 1, "wall": wall, "processor": processor}


def _process(command: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of a process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "NO_COLOR": "1"})
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# ---------------------------------------------------------------- the records of a run


class Spent:
    """Wall and processor seconds in wrapped calls, by name; nested calls are counted once."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = defaultdict(float)
        self.processor: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._inside = threading.local()

    def wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*of: Any, **more: Any) -> Any:
            if getattr(self._inside, "now", False):
                return call(*of, **more)
            self._inside.now = True
            wall, processor = time.perf_counter(), time.thread_time()
            try:
                return call(*of, **more)
            finally:
                self._inside.now = False
                self.wall[name] += time.perf_counter() - wall
                self.processor[name] += time.thread_time() - processor
                self.calls[name] += 1

        return timed


@contextlib.contextmanager
def replaced(changes: list[tuple[Any, str, Any]]) -> Iterator[None]:
    """Replaces attributes of classes and modules inside, and restores them after."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    for owner, name, new in changes:
        setattr(owner, name, new)
    try:
        yield
    finally:
        for owner, name, old in before:
            setattr(owner, name, old)


def padded(advance: Callable[[LiveRun], None], seconds: float, step: list[float]) -> Callable[[LiveRun], None]:
    def longer(run: LiveRun) -> None:
        start = time.perf_counter()
        advance(run)
        step.append(time.perf_counter() - start)
        time.sleep(max(0.0, seconds - step[-1]))

    return longer


def of_a_run(task: str, iterations: int, seconds: float, folder: Path) -> Iterator[Row]:
    """A row for each kind of call, one for all, and one for the steps themselves, without their padding."""
    file = folder / f"{task}.toml"
    file.write_text(LONG.format(task=task, iterations=iterations), "utf-8")
    spent, steps = Spent(), list[float]()
    calls = [(owner, name, spent.wrapped(name, getattr(owner, name))) for owner, name in RECORDING]
    bare = [
        (LiveRun, "advance", padded(LiveRun.advance, seconds, steps)),
        (study_figures, "draw_figures", lambda *of: []),
    ]
    quiet = Console(file=io.StringIO(), width=80)
    with replaced(bare + calls):
        run_study(load_study(str(file)), folder / task, 1, None, quiet)
    wall = iterations * seconds + sum(max(0.0, step - seconds) for step in steps)
    for name in sorted(spent.wall, key=lambda one: -spent.wall[one]):
        yield _row(task, name, spent.calls[name], spent.wall[name], spent.processor[name], wall)
    on_wall, of_processor = sum(spent.wall.values()), sum(spent.processor.values())
    yield _row(task, "all records", sum(spent.calls.values()), on_wall, of_processor, wall)
    yield {"of": task, "what": "the steps", "calls": len(steps), "wall": 1e3 * sum(steps)}


def _row(of: str, what: str, calls: int, spent: float, processor: float, run: float) -> Row:
    times: Row = {"calls": calls, "wall": 1e3 * spent, "processor": 1e3 * processor}
    return {"of": of, "what": what, **times, "share": 100 * spent / run, "processor_share": 100 * processor / run}
