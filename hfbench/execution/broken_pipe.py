"""Broken pipes: a study goes on when nobody reads its output."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, cast

from rich.console import Console


@contextmanager
def ignore_broken_pipe(console: Console) -> Iterator[None]:
    """Within the block, when the reader leaves (`hfbench run … | head -1`), what it would have read is dropped."""
    before = console.file
    console.file = cast(IO[str], _Stream(before))
    try:
        yield
    finally:
        console.file = before


class _Stream:
    """A text stream that ends in nowhere once its reader has left; rich itself would end the program."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._drop()

    def _drop(self) -> None:
        """The stream keeps what it could not write and would raise again, at the latest when Python ends."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        with suppress(OSError):
            os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
