"""Locks between processes. The kernel frees a lock when its holder ends, even by `kill -9`.

Some network file systems have no such locks; two processes are not kept apart there.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hfbench.errors import StoreError
from hfbench.messages import printable_line
from hfbench.records.files import make_folder, read_json, safe_name, write_json

FOLDER = ".locks"  # in the results folder
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # answers of a file system that has none


class TakenError(StoreError):
    """Another process holds the lock; `holder` says which one and since when."""

    def __init__(self, message: str, holder: str) -> None:
        super().__init__(message)
        self.holder = holder


class Lock(AbstractContextManager["Lock"]):
    """Lock, held from its construction to the end of its block; a file of the lock's name tells the holder.

    The locked file is another one, since some systems let nobody read a locked file.
    """

    def __init__(self, results: Path, name: str, wait: bool) -> None:
        """Waits for the lock, or raises BlockingIOError if it is not to wait."""
        self._path = make_folder(results / FOLDER, results) / name
        # A marker in place of the kernel's lock would outlive a killed holder.
        self._lock = FileLock(self._path.with_name(f"lock-{name}"), thread_local=False, fallback_to_soft=False)
        try:
            self._lock.acquire(blocking=wait)
        except Timeout as taken:
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK), str(self._path)) from taken
        except OSError as error:
            if error.errno not in NO_LOCKS:  # there, better a study unguarded than none
                raise _unwritable(self._path, error) from error

    def sign(self, holder: dict[str, Any]) -> None:
        """Writes the holder's name into the file, in place of whatever stands there."""
        try:
            write_json(self._path, holder)
        except StoreError as error:
            self._lock.release()
            raise _unwritable(self._path, error.__cause__) from error

    def __exit__(self, *of: object) -> None:
        self._lock.release()


def study_lock(results: Path, study: str, command: str) -> Lock:
    """Lock for running or logging a study in a results folder. Raises TakenError, which names the holder."""
    name = f"study-{safe_name(study)}"
    try:
        lock = Lock(results, name, wait=False)
    except BlockingIOError:
        holder = _holder(results / FOLDER / name)
        raise TakenError(
            f"{study} is worked on in {results} by {holder}. Let it end first, or choose another folder with "
            "--results.",
            holder,
        ) from None
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    lock.sign({"command": command, "process": os.getpid(), "host": socket.gethostname(), "since": since})
    return lock


def store_lock(results: Path) -> Lock:
    """Lock for creating or migrating the MLflow store of a results folder; waits for it."""
    return Lock(results, "store", wait=True)


def _unwritable(path: Path, error: BaseException | None) -> StoreError:
    reason = getattr(error, "strerror", None) or error
    return StoreError(
        f"{path} must be writable, but: {reason}. Free the disk, or move the folder {FOLDER} away "
        "while no command runs."
    )


def _holder(path: Path) -> str:
    """`hfbench run`, process 12 on alpha, since 2026-01-31 12:00:00."""
    for _ in range(20):  # it may just be signing
        with suppress(StoreError, KeyError):
            said = read_json(path) or {}
            holder = f"`{said['command']}`, process {said['process']} on {said['host']}, since {said['since']}"
            return printable_line(holder)
        time.sleep(0.05)
    return "another process"
