"""Files of records: atomic writes, safe names, JSON."""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hfbench.errors import ConfigError, StoreError


def prepare(results: Path) -> None:
    """Creates the results folder and tries to write in it. Raises StoreError if that fails."""
    make_folder(results / "runs")
    with _writing(results), tempfile.TemporaryFile(dir=results) as probe:
        probe.write(b"hfbench")


def safe_name(name: str) -> str:
    """The name, if it is safe as the name of a folder. Raises ConfigError otherwise."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ConfigError(
            f"a name that becomes a folder must be letters, digits, '.', '_' and '-' (at most 100, a letter or digit "
            f"first), but got {name!r}."
        )
    return name


def make_folder(path: Path) -> Path:
    with _writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` on a temporary file in the same folder, then moves that file to `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    with _writing(path.parent):
        try:
            write(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    text = json.dumps(finite(values), indent=1, allow_nan=False)
    write_atomically(path, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))


def read_json(path: Path) -> dict[str, Any] | None:
    """The mapping in a JSON file, or None if there is no file. Raises StoreError if it holds something else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} must be readable JSON, but: {error}. Delete it to run that run again.") from error
    if not isinstance(values, dict):
        raise StoreError(f"{path} must hold a JSON object, but holds {type(values).__name__}. Delete it to run again.")
    return values


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
