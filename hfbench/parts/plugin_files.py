"""Plugin files: `--plugin FILE`, or `[plugins] files = […]` in a study file.

The file adds its parts itself, as a notebook does:

    hfbench.registry.add("solver", "steepest", SteepestDescent)

The file runs once per process, as a separate module, and again when it has changed. A file that fails is skipped as a
whole: nothing it added stays, its exception is kept in `registry.skipped`, and other parts are not affected.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from hfbench.errors import ConfigError, DuplicatePartError, SharedStateError
from hfbench.messages import printable_line
from hfbench.parts import plugin_errors, registry
from hfbench.parts.process_state import check_unchanged, process_state
from hfbench.parts.source_files import read_source

PREFIX = "hfbench_plugin_"  # of the names of their modules


def load_plugin(file: str | Path, where: str = "--plugin") -> Path:
    """Runs a plugin file and returns its absolute path. A file that fails is noted in `registry.skipped`.

    Raises ConfigError, which begins with `where`, if there is no such file, it is not a Python file, or it changes what
    all runs share (`hfbench.parts.process_state`). Raises
    DuplicatePartError if it claims a name that is taken.
    """
    path = Path(os.path.expanduser(file))  # which leaves a user it does not know alone
    shown = printable_line(str(file))
    if not os.path.isfile(path):  # which, unlike `Path.is_file`, answers for any name
        there = "is a folder; name the .py file in it" if os.path.isdir(path) else "is a pipe, a socket or a device"
        what = there if os.path.exists(path) else "does not exist"
        raise ConfigError(f"{where}: must name a Python file that adds parts, but {shown} {what}.")
    if path.suffix != ".py":
        raise ConfigError(f"{where}: must name a Python file (.py) that adds parts, but got {shown}.")
    path = path.resolve()
    registry.skipped.pop(str(path), None)
    try:
        _run(path)
    except DuplicatePartError as error:
        raise DuplicatePartError(f"{where}: {error}") from error
    except SharedStateError as error:  # it stays changed, whether the file is skipped or not
        raise ConfigError(f"{where}: {error}") from error
    except (Exception, SystemExit) as error:
        registry.skipped[str(path)] = registry.FailedPlugin(
            plugin_errors.reason(error), plugin_errors.plugin_traceback(error)
        )
    return path


def _run(path: Path) -> None:
    """Imports the file unless it was imported before. Nothing stays of a file that fails."""
    name = module_name(path)
    if name in sys.modules:
        return
    with registry.all_or_none():
        before = registry.added()
        import_file(name, path)
        if registry.added() == before and not _defines_optimizer(sys.modules[name]):
            del sys.modules[name]
            raise ConfigError(
                f"it adds no part: call hfbench.registry.add(family, name, class) in {path.name}, or define a class "
                "derived from torch.optim.Optimizer."
            )


def _defines_optimizer(module: ModuleType) -> bool:
    """True if the baseline `torch` can use a class of the module."""
    from torch.optim import Optimizer

    return any(
        isinstance(value, type) and issubclass(value, Optimizer) and value.__module__ == module.__name__
        for value in vars(module).values()
    )


def plugin_module(name: str) -> ModuleType | None:
    """The module of the plugin file of this name, without `.py`, that was read last; None if there is none."""
    return next((sys.modules[module] for module in reversed(_modules()) if _file_name(module) == name), None)


def plugin_names() -> list[str]:
    """The names of the plugin files that were read, without `.py`."""
    return sorted(set(map(_file_name, _modules())))


def is_of_plugin_file(module: str) -> bool:
    return module.startswith(PREFIX)


def _modules() -> list[str]:
    return [module for module in list(sys.modules) if is_of_plugin_file(module)]


def _file_name(module: str) -> str:
    return module.removeprefix(PREFIX).rpartition("_")[0]


def module_name(path: Path) -> str:
    """The module name of a plugin file; it differs by folder and contents."""
    identity = hashlib.sha256(str(path).encode() + read_source(path)).hexdigest()[:8]
    word = re.sub(r"\W", "_", path.stem)
    return f"{PREFIX}{word}_{identity}"


def import_file(name: str, path: str | Path) -> None:
    """Runs a Python file as the module `name`, which is registered under that name unless it fails."""
    spec = importlib.util.spec_from_file_location(name, path, loader=_Source(name, str(path)))
    assert spec is not None  # it has a loader
    assert spec.loader is not None
    import torch  # noqa: F401  (its settings are compared)

    before = process_state()
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        check_unchanged(before, f"the import of {path}")
    except BaseException:
        del sys.modules[name]
        raise


class _Source(SourceFileLoader):
    """Loader that always compiles the current file, since cached bytecode is checked by whole seconds and size only."""

    def get_code(self, fullname: str) -> CodeType | None:
        return self.source_to_code(read_source(Path(self.path)), self.path)
