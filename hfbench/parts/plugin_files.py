"""Plugin files: `--plugin FILE`, or `[plugins] files = […]` in a study file.

The file adds its parts itself, as a notebook does:

    hfbench.registry.add("solver", "steepest", SteepestDescent)

It runs once per process, whatever names it by, as a module of its own, and once more when it has changed. One that
fails is skipped whole: nothing it had added stays, what it raised is kept in `registry.skipped`, and other parts are
not affected.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType

from hfbench.errors import ConfigError, DuplicatePartError
from hfbench.parts import plugin_errors, registry


def load_plugin(file: str | Path, where: str = "--plugin") -> Path:
    """Runs a plugin file; its absolute path is returned. One that fails is noted in `registry.skipped`.

    Raises ConfigError, beginning with `where`, if there is no such file or it is no Python file, and DuplicatePartError
    if it claims a name that is taken: which part is meant must not depend on what could be loaded.
    """
    path = Path(os.path.expanduser(file))  # which leaves a user it does not know alone
    if not path.is_file():
        what = "is a folder; name the .py file in it" if path.is_dir() else "does not exist"
        raise ConfigError(f"{where}: must name a Python file that adds parts, but {file} {what}.")
    if path.suffix != ".py":
        raise ConfigError(f"{where}: must name a Python file (.py) that adds parts, but got {file}.")
    path = path.resolve()
    registry.skipped.pop(str(path), None)
    try:
        _run(path)
    except DuplicatePartError as error:
        raise DuplicatePartError(f"{where}: {error}") from error
    except (Exception, SystemExit) as error:
        registry.skipped[str(path)] = registry.FailedPlugin(
            plugin_errors.reason(error), plugin_errors.plugin_traceback(error)
        )
    return path


def _run(path: Path) -> None:
    """Imports the file unless it has been. Of one that fails nothing stays."""
    name = module_name(path)
    if name in sys.modules:
        return
    with registry.all_or_none():
        before = registry.added()
        import_file(name, path)
        if registry.added() == before:
            del sys.modules[name]
            raise ConfigError(f"it adds no part: call hfbench.registry.add(family, name, class) in {path.name}.")


def module_name(path: Path) -> str:
    """The name a plugin file is imported under: other folders and other contents make other modules."""
    identity = hashlib.sha256(str(path).encode() + path.read_bytes()).hexdigest()[:8]
    word = re.sub(r"\W", "_", path.stem)
    return f"hfbench_plugin_{word}_{identity}"


def import_file(name: str, path: str | Path) -> None:
    """Runs a Python file as the module `name`, which is known by that name unless it fails."""
    spec = importlib.util.spec_from_file_location(name, path, loader=_Source(name, str(path)))
    assert spec is not None  # it has a loader
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


class _Source(SourceFileLoader):
    """Runs what the file says now, where bytecode of another state is told from it by whole seconds and size alone."""

    def get_code(self, fullname: str) -> CodeType | None:
        return self.source_to_code(self.get_data(self.path), self.path)
