"""Source files of parts: regular files of a bounded size, since a plugin and what lies beside it may be anything."""

from __future__ import annotations

from pathlib import Path

from hfbench.errors import ConfigError
from hfbench.regular_files import MB, read_regular_file

LARGEST = 16 * MB


def read_source(file: Path) -> bytes:
    """The bytes of a Python file. Raises ConfigError if it is no regular file of at most `LARGEST` bytes."""
    try:
        return read_regular_file(file, LARGEST)
    except OSError as error:
        raise ConfigError(f"{file} must be a readable Python file, but: {error.strerror or error}.") from error
