"""A console whose reader leaves: what is printed then is dropped, and nothing is raised."""

from __future__ import annotations

import io
import os

from rich.console import Console

from hfbench.execution.broken_pipe import ignore_broken_pipe


def test_a_reader_that_leaves_ends_nothing() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        console = Console(file=stream)
        with ignore_broken_pipe(console):
            console.print("read")
            assert os.read(reader, 100) == b"read\n"
            os.close(reader)
            console.print("unread")
            console.print("unread\n" * 2000, highlight=False)
        assert console.file is stream
        assert not console.quiet  # as rich sets it before it ends the program


def test_whoever_reads_gets_everything() -> None:
    console = Console(file=io.StringIO(), width=80)
    with ignore_broken_pipe(console):
        console.print("–≥ all")
        assert console.encoding == "utf-8"
    assert console.file.getvalue() == "–≥ all\n"  # type: ignore[attr-defined]
