"""Locks between processes: the kernel frees one when its holder ends, even by `kill -9`.

Windows and some network file systems have no such locks: there, nothing keeps two processes apart.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import IO, Any

from hfbench.errors import StoreError
from hfbench.records.files import make_folder, safe_name

FOLDER = ".locks"  # in the results folder


class TakenError(StoreError):
    """Another process holds the lock; `holder` says which one and since when."""

    def __init__(self, message: str, holder: str) -> None:
        super().__init__(message)
        self.holder = holder


class Lock(AbstractContextManager["Lock"]):
    """Held from the making of it to the end of its block.

    The file stays: were it removed, one process could lock the file that was and another the file that is.
    """

    def __init__(self, path: Path, wait: bool) -> None:
        """Waits for who holds it, or else raises BlockingIOError."""
        make_folder(path.parent)
        try:
            self._file: IO[str] = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise StoreError(f"{path} must be writable, but: {error.strerror}.") from error
        try:
            _lock(self._file, wait)
        except BaseException:
            self._file.close()
            raise

    def sign(self, holder: dict[str, Any]) -> None:
        """Says in the file who holds it."""
        self._file.truncate(0)
        self._file.write(json.dumps(holder) + "\n")
        self._file.flush()

    def __exit__(self, *of: object) -> None:
        self._file.close()


def study_lock(results: Path, study: str, command: str) -> Lock:
    """The right to run a study in a results folder, or to log it. Raises TakenError naming who has it."""
    path = results / FOLDER / f"study-{safe_name(study)}"
    try:
        lock = Lock(path, wait=False)
    except BlockingIOError:
        holder = _holder(path)
        raise TakenError(
            f"{study} is worked on in {results} by {holder}. Let it end first, or choose another folder with "
            "--results.",
            holder,
        ) from None
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    lock.sign({"command": command, "process": os.getpid(), "host": socket.gethostname(), "since": since})
    return lock


def store_lock(results: Path) -> Lock:
    """The right to make or migrate the MLflow store of a results folder; waits for it."""
    return Lock(results / FOLDER / "store", wait=True)


def _lock(file: IO[str], wait: bool) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:
        return  # the file system has no locks: better a study unguarded than none


def _holder(path: Path) -> str:
    """`hfbench run`, process 12 on alpha, since 2026-01-31 12:00:00."""
    for _ in range(20):  # it may just be signing
        with suppress(OSError, ValueError, KeyError, TypeError):
            said = json.loads(path.read_text(encoding="utf-8"))
            return f"`{said['command']}`, process {said['process']} on {said['host']}, since {said['since']}"
        time.sleep(0.05)
    return "another process"
