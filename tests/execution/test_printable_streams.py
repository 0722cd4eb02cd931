"""Streams on which no text acts on the terminal."""

from __future__ import annotations

import io
import sys

import pytest

from hfbench.execution.printable_streams import PrintableStream, make_streams_printable, unfiltered


def made_printable(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """What reaches stdout, which encodes as ASCII, and stderr, once both were made printable."""
    kept = io.BytesIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(kept, "ascii", write_through=True))
    make_streams_printable()
    return kept


def test_all_that_is_written_is_printable(monkeypatch: pytest.MonkeyPatch) -> None:
    written = made_printable(monkeypatch)
    print("a\x1b[2J", "b\r\n\tc", file=sys.stdout)
    sys.stderr.writelines(["d\x9b\n", "\u202eé"])
    assert written.getvalue() == b"a?[2J b\n\tc\nd?\n??"


def test_streams_are_made_printable_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made_printable(monkeypatch)
    stdout = sys.stdout
    make_streams_printable()
    assert sys.stdout is stdout
    assert stdout.encoding == "ascii"


def test_the_stream_below_writes_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    written = made_printable(monkeypatch)
    unfiltered(sys.stdout).write("\x1b[1m")
    assert written.getvalue() == b"\x1b[1m"
    plain = io.StringIO()
    assert unfiltered(plain) is plain


def test_a_stream_that_the_shell_has_closed_stays_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    make_streams_printable()
    assert sys.stdout is None


def test_length_is_that_of_the_text() -> None:
    assert PrintableStream(io.StringIO()).write("a\r\n") == 3
