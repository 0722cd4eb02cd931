"""A command that is ended by signals at some moment, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from support.tiny_study import mlflow_runs

# Whoever runs the tests in the background has SIGINT ignored, which the command would keep.
PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from hfbench.cli.entry import start
start()
"""
PATIENCE = 3.0  # seconds in which all processes of a command must have ended after it
SENTENCE = "Interrupted. The same command goes on where it stopped."
# Signals a tenth of a second apart, and whether all processes of the command get them, as from a terminal.
WAYS: dict[str, tuple[tuple[int, ...], bool]] = {
    "kill -9": ((signal.SIGKILL,), False),
    "Ctrl-C": ((signal.SIGINT,), True),
    "Ctrl-C twice": ((signal.SIGINT, signal.SIGINT), True),
    "kill": ((signal.SIGTERM,), False),
    "kill of all": ((signal.SIGTERM,), True),
}
STATUS = {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: 130, signal.SIGTERM: 143}


@dataclass(frozen=True)
class Ended:
    way: str
    status: int
    said: str  # on stdout and stderr
    orphans: list[str]  # what was left of its session

    def faults(self) -> list[str]:
        """What is wrong with how the command ended: by itself, or in one sentence and with the status of its way."""
        found = [f"left {command}" for command in self.orphans]
        found += ["a traceback"] if "Traceback" in self.said else []
        if self.status == 0:
            return found
        said, expected = self.said.count("Interrupted"), STATUS[WAYS[self.way][0][0]]
        found += [f"status {self.status}"] if self.status != expected else []
        if expected > 0 and (said, SENTENCE in self.said) != (1, True):
            found.append(f"said it {said} times")
        return found


def ended(arguments: Sequence[str], way: str, seconds: float) -> Ended:
    """`hfbench` with these arguments, ended when it has taken so many seconds of processors, unless by itself before.

    Seconds of the clock would all fall into the imports on a machine that does much else.
    """
    env = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"} | {"COLUMNS": "100"}
    numbers, all_of_it = WAYS[way]
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments], stdout=out, stderr=out, env=env, start_new_session=True
        )
        while process.poll() is None and _spent(process.pid) < seconds:
            time.sleep(0.02)
        for index, number in enumerate(numbers):
            time.sleep(0.1 if index else 0)
            if process.poll() is None:
                (os.killpg if all_of_it else os.kill)(process.pid, number)
        process.wait(120)
        orphans = _session(process.pid)
        out.seek(0)
        return Ended(way, process.returncode, out.read(), orphans)


def _spent(leader: int) -> float:
    """Seconds of processors that a process and those it began have taken."""
    with suppress(psutil.Error):
        command = psutil.Process(leader)
        times = [process.cpu_times() for process in (command, *command.children(recursive=True))]
        return sum(one_time.user + one_time.system for one_time in times)
    return 0.0


def _session(leader: int) -> list[str]:
    """The processes of a session that do not end in time; they are killed."""
    deadline = time.monotonic() + PATIENCE
    while (left := _alive(leader)) and time.monotonic() < deadline:
        time.sleep(0.1)
    commands = [" ".join(process.cmdline()) for process in left]
    for process in left:
        process.kill()
    return commands


def _alive(leader: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.Error):
            continue
    return found


def finished(results: Path) -> dict[str, int]:
    """When each finished run was written; the runs of a command that repeats none keep their times."""
    return {path.parent.name: path.stat().st_mtime_ns for path in (results / "runs").glob("*/result.json")}


def in_mlflow(results: Path, study: str) -> tuple[Counter[str], Counter[str]]:
    """How many runs of the study in MLflow have each name, and each status."""
    entries = mlflow_runs(results, study)
    return Counter(entry.info.run_name for entry in entries), Counter(entry.info.status for entry in entries)
