"""Registry of parts by name. Built-in and third-party parts are entry points, imported at first use.

The group of a family is `hfbench.solvers`, `hfbench.preconditioners`, `hfbench.schedulers`, `hfbench.tasks`,
`hfbench.rules` or `hfbench.optimizers`. `add` registers a class for this process alone, as a notebook does.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from hfbench import messages
from hfbench.errors import ConfigError, DuplicatePartError, HfbenchError, UnknownPartError
from hfbench.messages import listed, quoted
from hfbench.parts import families, hyperparameters, plugin_errors, source_docstrings
from hfbench.parts.families import check_name
from hfbench.parts.process_state import check_unchanged, process_state
from hfbench.parts.source_files import read_source

FAMILIES = families.FAMILIES
PREFIX = "hfbench."
GROUPS = {f"{PREFIX}{family}s": family for family in FAMILIES}


class FailedPlugin(NamedTuple):
    """Reason why a plugin file could not be loaded (hfbench/parts/plugin_files.py)."""

    why: str  # in one line
    traceback: str


_added: dict[tuple[str, str], type[Any]] = {}
skipped: dict[str, FailedPlugin] = {}  # by file


def names(family: str) -> list[str]:
    """The sorted names of a family; no plugin is imported.

    Raises UnknownPartError for an unknown family.
    """
    _check_family(family)
    known = {*_installed(tuple(sys.path)), *_added}
    return sorted(name for owner_family, name in known if owner_family == family)


def families_of(name: str) -> list[str]:
    """The families that have a part of this name; no plugin is imported."""
    return [family for family in FAMILIES if name in names(family)]


def get(family: str, name: str) -> type[Any]:
    """The class registered under `name`, imported by this call.

    Raises UnknownPartError, with the nearest and all known names; DuplicatePartError, with both owners; HfbenchError,
    chained to the original exception, if the plugin cannot be imported or is not a part of this family.
    """
    found = _find(family, name)
    if isinstance(found, type):
        return found
    _target(found, family)
    before = None if _is_shipped(found) else process_state()
    try:
        loaded = found.load()
        if before is not None:
            check_unchanged(before, f"the import of {found.value}")
    except (Exception, SystemExit) as error:
        source = f"{family} {quoted(name)} of {_owner(found)}"
        unlisted = isinstance(error, ModuleNotFoundError) and f"{found.module}.".startswith(f"{error.name}.")
        hint = f" {source_docstrings.UNLISTED}" if unlisted else ""
        raise HfbenchError(
            f"{source} cannot be imported from {found.value}: {plugin_errors.reason(error)}.{hint}"
        ) from error
    return families.check_part(family, name, loaded)


def add(family: str, name: str, cls: type[Any]) -> None:
    """Registers a class for this process.

    The same class (by file and qualified name) may be added again, for example by a notebook cell, or if an entry point
    of this name already names it. Raises ConfigError for a name with other characters than letters, digits, - and _;
    DuplicatePartError if the name is taken; HfbenchError if `cls` is not a part of the family.
    """
    _check_family(family)
    families.check_part(family, name, cls)
    if name in names(family):
        taken = _added.get((family, name))
        if taken is None and _installed_as(family, name) == f"{cls.__module__}:{cls.__qualname__}":
            return
        if taken is None or (families.file_of(taken), taken.__qualname__) != (families.file_of(cls), cls.__qualname__):
            owners = f"{origin(family, name)} and {families.file_of(cls)}"
            raise DuplicatePartError(
                f"two parts claim the {family} name {quoted(name)}: {owners}. Choose another name."
            )
    _added[family, name] = cls


@contextmanager
def temporary(family: str, name: str, cls: type[Any]) -> Iterator[type[Any]]:
    """`add` for the length of a `with` block."""
    add(family, name, cls)
    try:
        yield cls
    finally:
        _added.pop((family, name), None)


def added() -> dict[tuple[str, str], type[Any]]:
    """The classes added in this process, by (family, name)."""
    return dict(_added)


def modules_of_others() -> set[str]:
    """Top-level modules of the parts that do not come with hfbench: those added here, and those of other packages."""
    points = [point for found in _installed(tuple(sys.path)).values() for point in found if not _is_shipped(point)]
    named = {*(cls.__module__ for cls in _added.values()), *(point.module for point in points)}
    return {name.partition(".")[0] for name in named} - {"hfbench"}


def forget() -> None:
    """Removes every class added in this process."""
    _added.clear()


@contextmanager
def all_or_none() -> Iterator[None]:
    """Removes the parts added in a block that an exception ends."""
    before = dict(_added)
    try:
        yield
    except BaseException:
        _added.clear()
        _added.update(before)
        raise


def origin(family: str, name: str) -> str:
    """Owner of the name: distribution and version, or the file of an added class. Imports nothing; raises as `get`."""
    found = _find(family, name)
    return families.file_of(found) if isinstance(found, type) else _owner(found)


def is_shipped(family: str, name: str) -> bool:
    """True if the name is an entry point of hfbench itself. Raises as `get`."""
    found = _find(family, name)
    return not isinstance(found, type) and _is_shipped(found)


def provenance(family: str, name: str) -> tuple[str, str]:
    """Owner of the name with its state: a distribution and its version, or a file and the start of its sha256.

    Imports nothing; raises as `get`.
    """
    found = _find(family, name)
    if not isinstance(found, type):
        return (found.dist.name, found.dist.version) if found.dist is not None else (found.value, "unknown")
    file = Path(families.file_of(found))
    state = hashlib.sha256(read_source(file)).hexdigest()[:8] if file.is_file() else "unknown"
    return file.name, state


def one_line(family: str, name: str) -> str:
    """The first line of the part's docstring, read from its source: imports nothing.

    Raises as `get`, as far as the source shows it; see hfbench/parts/source_docstrings.py.
    """
    found = _find(family, name)
    if isinstance(found, type):
        return hyperparameters.first_line(found)
    module, attribute = _target(found, family)
    with hyperparameters.located(f"{family} {quoted(name)} of {_owner(found)}"):
        check_name(name, family)
        return source_docstrings.first_line_in_source(module, attribute)


def build(family: str, spec: Any, where: str = "") -> Any:
    """A part from its name or from a table `{"use": name, **settings}`; a built part is returned unchanged.

    `where`, the key path of the spec, prefixes every message. Raises as `get`, and ConfigError for settings that the
    part does not accept.
    """
    _check_family(family)
    if isinstance(spec, str):
        spec = {"use": spec}
    if isinstance(spec, Mapping):
        settings = dict(spec)
        name = settings.pop("use", None)
        if isinstance(name, str):
            with hyperparameters.located(where):
                cls = get(family, name)
            return hyperparameters.build_part(cls, settings, where)
    elif not isinstance(spec, type) and not families.lacking(family, spec):
        return spec
    with hyperparameters.located(where):
        raise ConfigError(
            f"must be the name of a {family}, a table with `use = name` and settings, or a built {family}, "
            f"but got {families.described(spec)}; known: {listed(names(family))}."
        )


@cache
def _installed(path: tuple[str, ...]) -> dict[tuple[str, str], tuple[metadata.EntryPoint, ...]]:
    """Entry points by (family, name). `path` is sys.path, so that they are read anew when it changes."""
    points = metadata.entry_points()
    found: dict[tuple[str, str], tuple[metadata.EntryPoint, ...]] = {}
    for group, family in GROUPS.items():
        for point in points.select(group=group):
            found[family, point.name] = (*found.get((family, point.name), ()), point)
    return found


@cache
def _strays(path: tuple[str, ...]) -> tuple[metadata.EntryPoint, ...]:
    """Entry points of groups that begin with `hfbench.` but are no family."""
    points = metadata.entry_points()
    groups = [group for group in sorted(points.groups) if group.startswith(PREFIX) and group not in GROUPS]
    return tuple(point for group in groups for point in points.select(group=group))


def _installed_as(family: str, name: str) -> str:
    """`module:Class` of the entry point, if there is one and no other."""
    points = _installed(tuple(sys.path)).get((family, name), ())
    return points[0].value if len(points) == 1 else ""


def _find(family: str, name: str) -> type[Any] | metadata.EntryPoint:
    known = names(family)
    if name not in known:
        near = messages.did_you_mean(name, known)
        raise UnknownPartError(
            f"no {family} {quoted(name)}{near}; known: {listed(known or ['none'])}.{cure(name, near)}"
        )
    if (family, name) in _added:
        return _added[family, name]
    points = _installed(tuple(sys.path))[family, name]
    if len(points) > 1:
        owners = " and ".join(f"{_owner(point)} ({point.value})" for point in points)
        raise DuplicatePartError(
            f"two parts claim the {family} name {quoted(name)}: {owners}. Uninstall or rename one."
        )
    return points[0]


def _target(point: metadata.EntryPoint, family: str) -> tuple[str, str]:
    """The module and the class of an entry point. Raises HfbenchError if it is malformed."""
    found = point.pattern.match(point.value)
    if found is None or not found["attr"]:
        raise HfbenchError(
            f"{family} {quoted(point.name)} of {_owner(point)} must be declared as `module:Class`, but got "
            f"{quoted(point.value)}."
        )
    return found["module"], found["attr"]


def cure(name: str, near: str) -> str:
    """End of a message about an unknown part: the plugin file that was skipped, or the remedy.

    `near` is the result of `did_you_mean`.
    """
    if skipped:
        return "".join(f" The plugin {file} was skipped: {failed.why}." for file, failed in skipped.items())
    lost = [_misspelt(point) for point in _strays(tuple(sys.path)) if point.name == name]
    if lost or near:
        return "".join(f" {sentence}" for sentence in lost)
    # Entry points are read from what is installed: a name added to pyproject.toml since then is not among them.
    return " One just declared in a pyproject.toml needs `pip install -e .` once more."


def misspelt_groups() -> list[str]:
    """A sentence on every entry point of a group `hfbench.…` that is no family, and is therefore ignored."""
    return [_misspelt(point) for point in _strays(tuple(sys.path))]


def _misspelt(point: metadata.EntryPoint) -> str:
    near = messages.nearest_name(point.group.removeprefix(PREFIX), [f"{family}s" for family in FAMILIES])
    meant = f" (did you mean '{PREFIX}{near}'?)" if near else f"; known: {', '.join(GROUPS)}"
    return f"{_owner(point)} declares {quoted(point.name)} in {point.group}, which is no group of parts{meant}."


def _check_family(family: str) -> None:
    if family not in FAMILIES:
        close = messages.did_you_mean(family, FAMILIES)
        raise UnknownPartError(f"no family {quoted(family)}{close}; known: {', '.join(FAMILIES)}.")


def _is_shipped(point: metadata.EntryPoint) -> bool:
    return point.module.startswith(PREFIX)


def _owner(point: metadata.EntryPoint) -> str:
    return _name_of(point.dist) if point.dist is not None else point.value


@cache
def _name_of(package: metadata.Distribution) -> str:
    """Name and version of a distribution, cached, since it takes parsing all of its metadata."""
    told = package.metadata
    return f"{told['Name']} {told['Version']}"
