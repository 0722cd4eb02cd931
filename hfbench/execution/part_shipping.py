"""Parts of plugin files, sent to the processes that make runs."""

from __future__ import annotations

import atexit
import sys
import tempfile
from collections.abc import Iterable, Set
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from hfbench.config.run_spec import RunSpec
from hfbench.errors import ConfigError
from hfbench.messages import quoted
from hfbench.parts import families, registry
from hfbench.parts.plugin_files import import_file, is_of_plugin_file
from hfbench.parts.source_files import read_source


@dataclass(frozen=True)
class AddedPart:
    """A part registered for one process only, or a class that its settings name, and how another process finds it."""

    family: str  # empty for a class that is no part
    name: str
    module: str
    qualname: str
    file: str

    def add(self) -> None:
        if self.module not in sys.modules:
            import_file(self.module, self.file)
        if not self.family:
            return
        found: Any = sys.modules[self.module]
        for name in self.qualname.split("."):
            found = getattr(found, name)
        registry.add(self.family, self.name, found)

    def sent(self) -> SentPart:
        """With its source, for a machine that does not have the file."""
        return SentPart(self, read_source(Path(self.file)))


@dataclass(frozen=True)
class SentPart:
    """A part added here, and the source of its file."""

    part: AddedPart
    source: bytes

    def kept(self) -> AddedPart:
        """The part, its file put where it stays as long as this process."""
        file = _sources() / f"{self.part.module}.py"
        file.write_bytes(self.source)
        return replace(self.part, file=str(file))


@cache
def _sources() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="hfbench-parts-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def added_parts(specs: Iterable[RunSpec]) -> list[AddedPart]:
    """The parts used that workers would not find by themselves: those added in this process, installed ones are found.

    Raises ConfigError for one that is in no file or in the running script: other processes cannot load it.
    """
    of = list(specs)
    parts = loadable({(family, settings["use"]) for spec in of for family, settings in spec.parts()})
    return [*parts, *_named({cls for spec in of for cls in spec.named_classes()})]


def _named(classes: Set[type]) -> list[AddedPart]:
    """Those of the classes that stand in plugin files."""
    found = [cls for cls in classes if is_of_plugin_file(cls.__module__)]
    return [AddedPart("", cls.__name__, cls.__module__, cls.__qualname__, families.file_of(cls)) for cls in found]


def has_loadable() -> bool:
    """Whether parts were added in this process, and other processes can load them all."""
    try:
        return bool(loadable(registry.added().keys()))
    except ConfigError:
        return False


def loadable(used: Set[tuple[str, str]]) -> list[AddedPart]:
    """Those of the parts, by (family, name), that were added in this process. Raises as `added_parts` does."""
    added = registry.added()
    parts = []
    for family, name in sorted(used & added.keys()):
        part, file = added[family, name], registry.origin(family, name)
        in_file = Path(file).is_file()  # what is typed may claim one that is none, "<stdin>"
        if not in_file or part.__module__ == "__main__":
            where = f"{file}, the running script" if in_file else f"no file ({part.__module__}.{part.__qualname__})"
            raise ConfigError(
                f"{family} {quoted(name)} must be in a file that other processes can load, but is defined in {where}: "
                "put it in a file of its own (--plugin FILE, or load_study(…, plugin_files=[FILE])), or run with one "
                "job (jobs=1)."
            )
        parts.append(AddedPart(family, name, part.__module__, part.__qualname__, file))
    return parts
