"""Objects that settings or states name by a dotted path: of an installed package, or of a plugin file that was read."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

from hfbench.errors import ConfigError
from hfbench.messages import did_you_mean, printable_line, quoted
from hfbench.parts.plugin_errors import reason
from hfbench.parts.plugin_files import plugin_module, plugin_names
from hfbench.parts.process_state import check_unchanged, process_state


def named_object(path: Any, what: str, is_one: Callable[[object], bool]) -> Any:
    """The object at a dotted path, `package.module.Name`, or `file.Name` of a plugin file.

    Its module is imported, if it is none of Python's own. Raises ConfigError for anything else, and SharedStateError
    for a module whose import changes what all runs share. `what` says in words what is looked for, and `is_one` which
    names are worth suggesting.
    """
    is_path = isinstance(path, str) and "." in path and all(word.isidentifier() for word in path.split("."))
    if not is_path:
        raise ConfigError(f"must be the dotted path of {what}, or file.Name of a plugin file, but got {quoted(path)}.")
    module, _, name = path.rpartition(".")
    try:
        home = plugin_module(module) or sys.modules.get(module) or _imported(module)
    except ImportError as error:
        there = f" Plugin files that were read: {', '.join(plugin_names())}." if plugin_names() else ""
        said = printable_line(str(error)).rstrip(".")
        raise ConfigError(f"{quoted(path)} must be importable, but: {said}. Install it.{there}") from error
    if (found := getattr(home, name, None)) is None:
        close = did_you_mean(name, [known for known, value in vars(home).items() if is_one(value)])
        raise ConfigError(f"must be importable, but {module} has no {quoted(name)}{close}.")
    return found


def _imported(module: str) -> Any:
    import torch  # noqa: F401  (its settings are compared)

    if module.partition(".")[0] in sys.stdlib_module_names:  # some act when they are imported
        raise ConfigError(f"must be in a package or a plugin file, but {quoted(module)} belongs to Python itself.")
    before = process_state()
    try:
        imported = importlib.import_module(module)
    except (ImportError, KeyboardInterrupt):
        raise
    except BaseException as error:  # also SystemExit, which would end the command without a word
        raise ConfigError(f"{quoted(module)} must be importable, but raises {reason(error)}.") from error
    check_unchanged(before, f"the import of {module}")
    return imported


def loaded_class(module: str, qualname: str) -> type | None:
    """A class of a module that was imported; None if there is none of this name. Imports nothing."""
    found: Any = sys.modules.get(module)
    for word in qualname.split("."):
        found = getattr(found, word, None)
    return found if isinstance(found, type) else None
