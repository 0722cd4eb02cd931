"""Files of data that a block opens for reading, as Python's audit events tell."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

_watching: list[list[Path]] = []
OF_THE_SYSTEM = tuple(Path("/", name) for name in ("proc", "sys", "dev", "etc", "usr/share/zoneinfo"))
CODE = {".py", ".pyc", ".so", ".pyd"}


@contextmanager
def opened_files() -> Iterator[list[Path]]:
    """The files that the block opens, without those of Python, of installed packages and of the system."""
    _install_hook()
    opened: list[Path] = []
    _watching.append(opened)
    try:
        yield opened
    finally:
        _watching.remove(opened)


@cache
def _install_hook() -> None:
    """Once per process: a hook can never be removed."""
    sys.addaudithook(_see)


def _see(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching or event != "open" or not isinstance(arguments[0], str | bytes):
        return
    path, flags = Path(os.path.realpath(os.fsdecode(arguments[0]))), arguments[2]
    if not flags & (os.O_WRONLY | os.O_RDWR) and not _is_of_an_installation(path):
        for opened in _watching:
            opened.append(path)


def _is_of_an_installation(path: Path) -> bool:
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    return bool(installed) or path.suffix in CODE or any(path.is_relative_to(place) for place in _places())


@cache
def _places() -> tuple[Path, ...]:
    names = (sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"))
    return (*OF_THE_SYSTEM, *(Path(os.path.realpath(name)) for name in names))
