"""Hashes of the source that a run's key covers: the numerics and the parts used."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

CORE = Path(__file__).parents[1]
# What the numbers of a run depend on, beside its parts: a change there makes the run again, never a stale one.
NUMERICS = ("memory", "linalg", "curvature", "parts", "inner_solve", "hessian_free", "runs", "records/trace.py")
PART_FOLDERS = ("solvers", "schedulers", "tasks")


@cache
def _core_source() -> bytes:
    places = [CORE / name for name in NUMERICS]
    return b"".join(_hash(file) for place in places for file in (sorted(place.rglob("*.py")) or [place]))


@cache
def _part_source(part: type) -> bytes:
    """The hashes of the files a part is made of: its own, its bases', and the siblings they import."""
    modules = {base.__module__ for base in part.__mro__} - {"builtins", "typing"}
    files: dict[str, bytes] = {}
    while modules:
        name = modules.pop()
        if name in files or not _belongs(name, part.__module__):
            continue
        file = _file(name)
        if file is not None:
            files[name] = _hash(file)
            modules |= set(_imports(name, file))
        elif name == part.__module__:
            files[name] = _inline_source(part)
    return b"".join(files[name] for name in sorted(files))


def _file(module: str) -> Path | None:
    """Source file of a module, loaded or not; None if there is no such module or file."""
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded is None:
        with suppress(ImportError, ValueError):
            spec = importlib.util.find_spec(module)
            loaded = spec.origin if spec is not None and spec.has_location else None
    return Path(loaded) if loaded is not None and Path(loaded).is_file() else None


def _belongs(name: str, own: str) -> bool:
    """True for modules that belong to the part: itself, its package, or a built-in part; the core is hashed anyway."""
    top, *below = name.split(".")
    if top == "hfbench":
        return len(below) > 1 and below[0] in PART_FOLDERS
    return name == own or top == own.partition(".")[0]


def _imports(name: str, file: Path) -> Iterator[str]:
    """The modules a file imports, by absolute name; names that are not modules are harmless."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _inline_source(part: type) -> bytes:
    """Hash for a class defined in a notebook or an interpreter: of its text if Python kept it, else of its name."""
    try:
        text = inspect.getsource(part)
    except (OSError, TypeError):
        text = part.__qualname__
    return hashlib.sha256(text.encode()).digest()


def _hash(file: Path) -> bytes:
    return hashlib.sha256(file.read_bytes()).digest()
