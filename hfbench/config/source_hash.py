"""Hashes of the source that a run's key covers: the numerics, and what the parts used depend on.

Of source counts what runs, not its layout, comments and docstrings, and it counts alike in all versions of Python. Of
a part counts its class with all that it reaches in its own modules (`source_reach`). The files of these modules count
as they are if one of them cannot be parsed, or looks at itself.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sys
import textwrap
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from hfbench.config.canonical_source import canonical_text
from hfbench.config.source_reach import ParsedModule, Reach

CORE = Path(__file__).parents[1]
# What the numbers of a run depend on, beside its parts: a change there makes the run again, never a stale one.
NUMERICS = ("memory", "linalg", "curvature", "parts", "inner_solve", "hessian_free", "runs", "records/trace.py")
PART_FOLDERS = ("solvers", "schedulers", "tasks")


@cache
def _core_source() -> bytes:
    places = [CORE / name for name in NUMERICS]
    return b"".join(_hash(file.read_bytes()) for place in places for file in (sorted(place.rglob("*.py")) or [place]))


@cache
def _part_source(part: type) -> bytes:
    """Hashes of the part's classes, its own and its bases', with what they reach, module by module."""
    own = part.__module__
    bases = [base for base in part.__mro__ if _belongs(base.__module__, own)]
    files = _files({base.__module__ for base in bases}, own)
    typed = b"".join(_inline_source(base) for base in bases if base.__module__ not in files)
    modules = {name: module for name, (_, module) in files.items() if module and not module.looks_at_itself()}
    if len(modules) < len(files):
        held = {name: _digest(file.read_bytes()) for name, (file, _) in files.items()}
    else:
        held = _reached(modules, [(base.__module__, base.__qualname__) for base in bases])
    order = sorted(held, key=lambda name: (name != own, name))
    return typed + b"".join(_digest((name if name != own else "").encode()) + held[name] for name in order)


def _reached(modules: Mapping[str, ParsedModule], classes: Iterable[tuple[str, str]]) -> dict[str, bytes]:
    """Hashes of the statements that the classes reach, by module."""
    reach = Reach(modules)
    for module, name in classes:
        reach.follow(module, (name.partition(".")[0],))
    return {name: _digest(canonical_text(reach.statements(name)).encode()) for name in modules if reach.reached[name]}


def _files(names: Iterable[str], own: str) -> dict[str, tuple[Path, ParsedModule | None]]:
    """The part's modules by absolute name, those named and all that they import: file and source."""
    found: dict[str, tuple[Path, ParsedModule | None]] = {}
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        file = _file(name) if name not in found and _belongs(name, own) else None
        if file is not None:
            module = _parsed(name, file)
            found[name] = file, module
            waiting |= set(module.imported()) if module is not None else set()
            waiting.add(name.rpartition(".")[0])  # its package runs before it
    return found


def _file(module: str) -> Path | None:
    """Source file of a module, loaded or not; None if there is no such module or file."""
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded is None:
        with suppress(Exception):  # of a package that the search imports
            spec = importlib.util.find_spec(module)
            loaded = spec.origin if spec is not None and spec.has_location else None
    return Path(loaded) if loaded is not None and Path(loaded).is_file() else None


def _belongs(name: str, own: str) -> bool:
    """True for modules that belong to the part: itself, its package, or a built-in part; the core is hashed anyway."""
    top, *below = name.split(".")
    if top == "hfbench":
        return len(below) > 1 and below[0] in PART_FOLDERS
    return name == own or top == own.partition(".")[0]


def _parsed(name: str, file: Path) -> ParsedModule | None:
    """The module's source; None if it is compiled or cannot be read as Python."""
    with suppress(SyntaxError, ValueError):
        return ParsedModule(name, file)
    return None


def _inline_source(part: type) -> bytes:
    """Hash of a class defined in a notebook or an interpreter: of its text if Python kept it, else of its name."""
    try:
        text = textwrap.dedent(inspect.getsource(part))
    except (OSError, TypeError):
        text = part.__qualname__
    return _hash(text.encode())


def _hash(source: bytes) -> bytes:
    """Hash of source without layout, comments and docstrings; of the bytes as they are if they are not Python."""
    with suppress(SyntaxError, ValueError):
        source = canonical_text(ast.parse(source).body).encode()
    return _digest(source)


def _digest(held: bytes) -> bytes:
    return hashlib.sha256(held).digest()
