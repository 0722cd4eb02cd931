"""Files of records: bounded reading, atomic writes, safe names, JSON, and one error for whatever a decoder raises.

A results folder may come from somebody else. Everything of it lies in it: the folder itself may be a link, but nothing
is read or written through a link that leads out of it.
"""

from __future__ import annotations

import json
import math
import os
import re
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hfbench.errors import ConfigError, StoreError
from hfbench.messages import printable_line, quoted
from hfbench.regular_files import MB, is_inside, read_regular_file

LARGEST_JSON = 16 * MB  # bytes of a JSON file; as values they take some 20 times as many
LARGEST_REPORT = 512 * MB  # bytes of a report, with its figures, or of a table
DEEPEST = 24  # levels of nesting in a JSON file; records have five
HOST = re.sub(r"[^\w-]", "-", socket.gethostname())  # in the names of temporary files


def prepare(results: Path) -> None:
    """Creates the results folder and tries to write in it. Raises StoreError if that fails."""
    make_folder(results / "runs", results)
    with _writing(results), tempfile.TemporaryFile(dir=results) as probe:
        probe.write(b"hfbench")


def is_safe_name(name: object) -> bool:
    """True for a name that may become that of a folder."""
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) is not None


def safe_name(name: str) -> str:
    """The name, if it is safe as the name of a folder. Raises ConfigError otherwise."""
    if not is_safe_name(name):
        raise ConfigError(
            f"a name that becomes a folder must be letters, digits, '.', '_' and '-' (at most 100, a letter or digit "
            f"first), but got {quoted(name)}."
        )
    return name


def make_folder(path: Path, results: Path | None = None) -> Path:
    """Creates the folder if there is none. Raises StoreError if it cannot, or as `check_folder` does."""
    if results is not None:
        check_folder(path, results)
    with _writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def check_folder(path: Path, results: Path) -> None:
    """Raises StoreError if a folder of the results folder is a link out of it, or lies in one."""
    if not is_inside(path, results):
        raise StoreError(
            f"{path} must lie in the results folder, but is a link out of it. Move the whole results folder there "
            "instead: --results may name a link."
        )


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` on a temporary file in the same folder, then moves that file to `path`.

    What a killed process of this machine was writing in the folder goes.
    """
    temporary = path.with_name(f".{path.name}.{HOST}.{os.getpid()}.{time.monotonic_ns()}.hfbench")
    with _writing(path):
        _remove_unfinished(path.parent)
        try:
            write(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, held: bytes) -> None:
    """Writes the file whole or not at all."""
    write_atomically(path, lambda temporary: temporary.write_bytes(held))


def copy_files(files: Iterable[Path], folder: Path) -> None:
    """Copies files into a folder, each whole or not at all. Raises StoreError if one is missing."""
    for file in files:
        held = file_bytes(file, LARGEST_REPORT, file.parent)
        if held is None:
            raise StoreError(f"{file} must be there to be copied, but is not.")
        write_bytes(folder / file.name, held)


def _remove_unfinished(folder: Path) -> None:
    """Removes temporary files whose writers have ended; those of another machine may still be written."""
    import psutil

    for entry in os.listdir(folder):
        named = re.fullmatch(rf"\..*\.{re.escape(HOST)}\.(\d+)\.\d+\.hfbench", entry)
        if named and not psutil.pid_exists(int(named[1])):
            (folder / entry).unlink(missing_ok=True)


def json_bytes(values: Mapping[str, Any]) -> bytes:
    """The values as the text of a JSON file, None for numbers that JSON cannot hold."""
    return (json.dumps(finite(values), indent=1, allow_nan=False) + "\n").encode()


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    write_bytes(path, json_bytes(values))


def file_bytes(path: Path, at_most: int, inside: Path, folder_is_inside: bool = False) -> bytes | None:
    """The bytes of a file, or None if there is none.

    Raises StoreError for anything but a regular file of at most `at_most` bytes in the folder `inside`, with every link
    followed. Where the file's own folder is known to lie there (`folder_is_inside`), a file that is no link does, too.
    """
    try:
        is_link = stat.S_ISLNK(os.lstat(path).st_mode)
    except (OSError, ValueError):  # links are followed only for what is there: a folder may have a million others
        return None
    try:
        return read_regular_file(path, at_most, inside if is_link or not folder_is_inside else None)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"{path} must be a readable file, but: {error.strerror or error}.") from error


def read_json(path: Path) -> dict[str, Any] | None:
    """The mapping in a JSON file, or None if there is no file. Raises StoreError if it holds something else."""
    held = file_bytes(path, LARGEST_JSON, path.parent)
    return None if held is None else json_object(held, path)


def json_object(held: bytes | str, path: Path | str) -> dict[str, Any]:
    """The mapping that a JSON text holds; `path` names it. Raises StoreError for anything else.

    Refused are also NaN, text that is no Unicode, and values nested more than `DEEPEST` levels: what reads the mapping
    next may go through it by recursion and print it.
    """
    with decoding(path, "readable JSON"):
        text = held if isinstance(held, str) else held.decode()
        values = json.loads(text, parse_constant=_no_number)
        if "\\u" in text:
            json.dumps(values, ensure_ascii=False).encode()  # half of a surrogate pair can be read but not written
        # Few texts have more brackets than levels are allowed.
        if text.count("[") + text.count("{") > DEEPEST and _is_deeper(values, DEEPEST):
            raise ValueError(f"its values are nested more than {DEEPEST} levels")
    if not isinstance(values, dict):
        raise StoreError(f"{path} must hold a JSON object, but holds {type(values).__name__}.")
    return values


@contextmanager
def decoding(path: Path | str, what: str) -> Iterator[None]:
    """Turns whatever a decoder raises for a damaged file into a StoreError: its exceptions are not documented."""
    try:
        yield
    except Exception as error:
        said = printable_line(str(error)) or type(error).__name__
        raise StoreError(f"{path} must be {what}, but: {said.rstrip('.')}.") from error


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _is_deeper(value: Any, levels: int) -> bool:
    """True if lists and mappings are nested more than so many levels."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(entry, levels - 1) for entry in inner)


def finite(value: Any) -> Any:
    """The same plain data with None for numbers that JSON cannot hold."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(name): finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return value


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(f"the results folder must be writable, but {path}: {reason}. Choose another.") from error
