"""The console script in this process, on a pseudo-terminal, and what it wrote there."""

from __future__ import annotations

import os
import pty
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hfbench.cli import main


class PseudoTerminal:
    """stdout and stderr of this process, while it is entered; `text` is all that was written."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self.encoding = encoding
        self._written: list[bytes] = []

    @property
    def text(self) -> str:
        return b"".join(self._written).decode(self.encoding, "replace")

    @contextmanager
    def entered(self) -> Iterator[None]:
        here, there = pty.openpty()
        over = threading.Event()
        reader = threading.Thread(target=self._read, args=(here, over))
        reader.start()
        before = sys.stdout, sys.stderr
        stream = os.fdopen(there, "w", encoding=self.encoding, errors="strict", buffering=1)
        sys.stdout = sys.stderr = stream
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before
            stream.flush()
            over.set()
            reader.join()
            stream.close()
            os.close(here)

    def _read(self, here: int, over: threading.Event) -> None:
        """Until all is over and read: processes that were begun meanwhile may keep the terminal open."""
        while True:
            last = over.is_set()
            if select.select([here], [], [], 0.05)[0]:
                self._written.append(os.read(here, 1 << 16))
            elif last:
                return


def typed(terminal: PseudoTerminal, monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> int:
    """Exit status of the console script on the terminal."""
    monkeypatch.setattr(sys, "argv", ["hfbench", *map(str, arguments)])
    with terminal.entered(), pytest.raises(SystemExit) as caught:
        main.main()
    return caught.value.code if isinstance(caught.value.code, int) else 0
