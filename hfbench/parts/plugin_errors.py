"""Error reports for exceptions raised by plugin code."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import NamedTuple

from hfbench.errors import HfbenchError

CORE = Path(__file__).parents[1]
LINKED = ("solvers", "schedulers", "tasks", "testing")  # below the core, and yet foreign to it
PYTHON = Path(traceback.__file__).parent
MOST = 2000  # letters of a message


def reason(error: BaseException) -> str:
    """One line with the place, without full stop: `ZeroDivisionError: division by zero (/home/me/plugin.py:3)`."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{type(error).__name__}: {error.msg} ({error.filename}:{error.lineno})"
    said = f"{type(error).__name__}: {' '.join(message(error).split())[:MOST]}".rstrip(":. ")
    places = _places(error)
    return f"{said} ({plain_path(places[-1].filename)}:{places[-1].lineno})" if places else said


def plugin_traceback(error: BaseException) -> str:
    """The traceback from the first foreign line on, without the imports that led there.

    For an error that hfbench raises, it ends at the last foreign line, which caused it.
    """
    full = traceback.TracebackException.from_exception(error)
    foreign = [index for index, frame in enumerate(full.stack) if not _is_ours(frame.filename)]
    if foreign and isinstance(error, HfbenchError):
        del full.stack[foreign[-1] + 1 :]
    del full.stack[: foreign[0] if foreign else len(full.stack)]
    for frame in full.stack:
        frame.filename = plain_path(frame.filename)
    return "".join(full.format()).rstrip()


def trace(error: BaseException) -> str:
    """The report without the exception, for a message that already has its `reason`; "" if nothing is left.

    It has all that one line cannot hold: a chain of foreign lines, and the place in a file that is not Python.
    """
    if isinstance(error, SyntaxError) or "\n" in message(error).strip():
        return plugin_traceback(error)
    lines = plugin_traceback(error).splitlines()[:-1]
    return "\n".join(lines) if len(lines) > 1 else ""


def message(error: BaseException) -> str:
    """The exception's own words, if it can say them."""
    try:
        return str(error)
    except BaseException as another:
        return f"its message raises {type(another).__name__}"


class FailingCall(NamedTuple):
    """A call of a plugin's function, from which an exception came."""

    file: str
    name: str  # `Class.method`


def failing_call(error: BaseException) -> FailingCall | None:
    """The last call from shipped code into a plugin's that led to the exception; None if there is none."""
    found, inside = None, False
    for frame, _ in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        foreign = not _is_ours(file) and CORE not in Path(file).parents
        if foreign and not inside:
            found = FailingCall(plain_path(file), frame.f_code.co_qualname)
        inside = foreign
    return found


def plain_path(file: str) -> str:
    """The path of a file without `..`; other names, such as `<string>`, are unchanged."""
    return os.path.realpath(file) if os.path.exists(file) else file


def _places(error: BaseException) -> list[traceback.FrameSummary]:
    """The foreign lines that led to an exception; lines of shipped parts only if there are no others.

    The message of an error that hfbench raises is for the author of the foreign lines, so a place in a shipped part is
    not needed.
    """
    foreign = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
    others = [frame for frame in foreign if CORE not in Path(frame.filename).parents]
    return others if others or isinstance(error, HfbenchError) else foreign


def _is_ours(file: str) -> bool:
    """True for files of the core, Python and torch; plugin folders and other installed packages are foreign."""
    path = Path(file)
    pythons = PYTHON in path.parents and "site-packages" not in path.parts
    backport = "importlib_metadata" in path.parts  # which others may have put in the place of Python's
    torch = getattr(sys.modules.get("torch"), "__file__", None)  # not imported for this
    torchs = torch is not None and Path(torch).parent in path.parents
    core = CORE in path.parents and path.relative_to(CORE).parts[0] not in LINKED
    return file.startswith("<frozen importlib") or core or pythons or backport or torchs
