"""stdout and stderr on which no text acts on the terminal: messages, warnings, logs and what plugins print.

Texts of files, plugins and libraries may hold signs that clear the screen, write into the clipboard or reorder a line.
Everything passes here, but for what `Screen` prints: it makes texts printable before it styles them.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from hfbench.messages import printable


def make_streams_printable() -> None:
    """Replaces stdout and stderr of this process, unless that is done."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a ? for what the terminal's encoding lacks, not a traceback
            setattr(sys, name, PrintableStream(stream))


def unfiltered(stream: TextIO) -> TextIO:
    """The stream below, for whoever makes its texts printable itself."""
    return stream.below if isinstance(stream, PrintableStream) else stream


class PrintableStream:
    """A text stream with a replacement character for each sign that cannot be printed."""

    def __init__(self, below: TextIO) -> None:
        self.below = below

    def write(self, text: str) -> int:
        self.below.write(printable(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)
