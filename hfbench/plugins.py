"""Plugins that are one file: `--plugin FILE`, or `[plugins] files = […]` in a study file.

The file adds its parts itself, as a notebook does:

    hfbench.registry.add("solver", "steepest", SteepestDescent)

It runs once per process, whatever names it by, as a module of its own. One that fails is skipped whole: nothing it had
added stays, its traceback is kept in `registry.skipped`, and other parts are not affected.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path

from hfbench import registry
from hfbench.errors import ConfigError


def load(file: str | Path, where: str = "--plugin") -> Path:
    """Runs a plugin file; its absolute path is returned. One that fails is noted in `registry.skipped`.

    Raises ConfigError, beginning with `where`, if there is no such file or it is no Python file.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        what = "is a folder; name the .py file in it" if path.is_dir() else "does not exist"
        raise ConfigError(f"{where}: must name a Python file that adds parts, but {file} {what}.")
    if path.suffix != ".py":
        raise ConfigError(f"{where}: must name a Python file (.py) that adds parts, but got {file}.")
    path = path.resolve()
    if module_name(path) not in sys.modules:
        registry.skipped.pop(str(path), None)
        _run(path)
    return path


def module_name(path: Path) -> str:
    """The name a plugin file is imported under: files of one name in two folders are two modules."""
    place = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    return f"hfbench_plugin_{path.stem}_{place}"


def _run(path: Path) -> None:
    name = module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # a .py file has a loader
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        with registry.all_or_none():
            before = registry.added()
            spec.loader.exec_module(module)
            if registry.added() == before:
                raise ConfigError(f"it adds no part: call hfbench.registry.add(family, name, class) in {path.name}.")
    except (Exception, SystemExit):
        del sys.modules[name]
        registry.skipped[str(path)] = _shown(path)


def _shown(path: Path) -> str:
    """The traceback from the plugin's own lines on: those of the importing machinery say nothing."""
    error = sys.exc_info()[1]
    assert error is not None
    report = traceback.TracebackException.from_exception(error)
    own = [place for place, frame in enumerate(report.stack) if frame.filename == str(path)]
    del report.stack[: own[0] if own else len(report.stack)]
    return "".join(report.format()).rstrip()
