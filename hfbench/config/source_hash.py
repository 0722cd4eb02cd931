"""Hashes of the source that a run's key covers: the numerics, and what the parts used depend on.

Of source counts what runs, not its layout, comments and docstrings, and it counts alike in all versions of Python. Of
a part counts its class with all that it reaches in its own package and in other files that are not installed, such as
a helper beside a plugin file (`source_reach`). The files of these modules count as they are if one of them cannot be
parsed, or looks at itself. Installed libraries do not count.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import re
import sys
import sysconfig
import textwrap
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from hfbench.config.canonical_source import canonical_text
from hfbench.config.source_reach import ParsedModule, Reach, parsed_module
from hfbench.parts.source_files import read_source

CORE = Path(__file__).parents[1]
# What the numbers of a run depend on, beside its parts: a change there makes the run again, never a stale one.
NUMERICS = ("memory", "linalg", "curvature", "parts", "inner_solve", "hessian_free", "runs", "records/trace.py")
PART_FOLDERS = ("solvers", "schedulers", "tasks")
STANDARD_LIBRARY = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
FILE_NAME = re.compile(r"[\w./-]{1,100}")
INSTALLED = {"site-packages", "dist-packages"}  # folders of installed libraries


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
    modules = {name: module for name, (_, module) in files.items() if module and not module.looks_at_itself}
    if len(modules) < len(files):
        held = {name: _digest(read_source(file)) for name, (file, _) in files.items()}
    else:
        held = _reached(modules, [(base.__module__, base.__qualname__) for base in bases])
    order = sorted(held, key=lambda name: (name != own, name))
    return typed + b"".join(_digest((name if name != own else "").encode()) + held[name] for name in order)


def _named_source(cls: type) -> bytes:
    """As of a part; nothing for a class of an installed library."""
    return b"" if _is_installed(cls.__module__.partition(".")[0]) else _part_source(cls)


def _reached(modules: Mapping[str, ParsedModule], classes: Iterable[tuple[str, str]]) -> dict[str, bytes]:
    """Hashes of the statements that the classes reach, by module."""
    reach = Reach(modules)
    for module, name in classes:
        reach.follow(module, (name.partition(".")[0],))
    return {name: _digest(canonical_text(reach.statements(name)).encode()) for name in modules if reach.reached[name]}


def _files(names: Iterable[str], own: str) -> dict[str, tuple[Path, ParsedModule | None]]:
    """The part's modules by absolute name, those named and all that they import: file and source."""
    found: dict[str, tuple[Path, ParsedModule | None]] = {}
    waiting: dict[str, Path | None] = dict.fromkeys(names)
    while waiting:
        name, file = waiting.popitem()
        if name in found:
            continue
        if file is None and _belongs(name, own):
            file = _file(name)
        if file is not None:
            module = _parsed(name, file)
            found[name] = file, module
            waiting[name.rpartition(".")[0]] = None  # its package runs before it
            if module is not None:
                waiting |= dict.fromkeys(module.imported())
                waiting |= _loaded_by_text(module, file) if module.looks_at_itself else {}
    return found


def _loaded_by_text(module: ParsedModule, file: Path) -> dict[str, Path]:
    """Python files beside a module that its texts name, `helper.py` or `helper`: it may load them by these texts."""
    found = {}
    for text in filter(FILE_NAME.fullmatch, module.texts()):
        path = text.removesuffix(".py").strip("./").replace(".", "/")
        for candidate in (file.parent / f"{path}.py", file.parent / path / "__init__.py"):
            if candidate.is_file() and candidate != file:
                found[f"{path}/{candidate.name}"] = candidate
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
    """True for modules that count: the part's package, what is not installed, and built-in parts, unlike the core."""
    top, *below = name.split(".")
    own_top = own.partition(".")[0]
    if top == "hfbench":
        return len(below) > 1 and below[0] in PART_FOLDERS  # the rest counts anyway
    return top == own_top or (own_top != "hfbench" and not _is_installed(top))


def _is_installed(top: str) -> bool:
    """True for a module of the standard library or of another one, and for a module without a file."""
    spec = None
    with suppress(Exception):  # of a finder that is not ours; ValueError for a module that was typed
        spec = importlib.util.find_spec(top)
    if spec is None:
        return True
    places = [spec.origin] if spec.has_location else spec.submodule_search_locations or []
    return not any(_is_own(Path(place)) for place in places if place is not None)


def _is_own(place: Path) -> bool:
    """True for a file or folder outside of the folders of libraries."""
    return not INSTALLED.intersection(place.parts) and not any(map(place.is_relative_to, STANDARD_LIBRARY))


def _parsed(name: str, file: Path) -> ParsedModule | None:
    """The module's source; None if it is compiled or cannot be read as Python."""
    with suppress(SyntaxError, ValueError):
        return parsed_module(name, file.name, read_source(file))
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
