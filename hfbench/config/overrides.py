"""`--set key.path=value`: overrides of a study file, and messages that say which of the two caused an error."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hfbench.config.raw_values import check_key
from hfbench.config.table_checks import check_known, table_of
from hfbench.errors import ConfigError, HfbenchError
from hfbench.messages import quoted


@contextmanager
def blaming(label: str, overridden: Sequence[str]) -> Iterator[None]:
    """Adds to messages, which begin with a key path, whether the key came from `--set` or from which file."""
    try:
        yield
    except HfbenchError as error:
        key, _, problem = str(error).partition(": ")
        if any(_within(key, path) or _within(path, key) for path in overridden):
            message = f"{key} (from --set): {problem}"
        elif key == "--set":
            message = str(error)
        else:
            # Another `use` may be what makes a setting of the file unknown.
            switched = next((path for path in overridden if _within(key, path.removesuffix(".use"))), None)
            message = f"{label}{f' with --set {switched}' if switched else ''}: {error}"
        raise type(error)(message) from error.__cause__


def _within(key: str, path: str) -> bool:
    """True if the key is the one at `path` or below it."""
    return re.match(rf"{re.escape(path)}($|[.\[])", key) is not None


def path_of(assignment: str) -> str:
    """The key path of an assignment."""
    return ".".join(key.strip() for key in assignment.partition("=")[0].split("."))


def override(raw: dict[str, Any], assignment: str) -> bool:
    """Sets one value in the raw tables, and says whether it was another; key and value are checked with the others."""
    path, (_, equals, text) = path_of(assignment), assignment.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise ConfigError(
            f"--set: must be key.path=value, such as methods.hf.solver=lsmr, but got {quoted(assignment)}."
        )
    for key in keys:
        check_key(key, "--set")
    if keys[0] == "methods" and len(keys) > 2:
        check_known(keys[1], table_of(raw, "methods"), path, "method")
    table = raw
    for depth, key in enumerate(keys[:-1], start=1):
        below = table.setdefault(key, {})
        if isinstance(below, str):  # a part given by its name alone
            below = table[key] = {"use": below}
        if not isinstance(below, dict):
            raise ConfigError(f"{path}: {'.'.join(keys[:depth])} must be a table, but is {quoted(below)}.")
        table = below
    before, value = table.get(keys[-1]), _value(text.strip())
    table[keys[-1]] = value
    return before is None or before != value


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # no TOML, or a number with more digits than Python reads
        return text
    return parsed["value"] if len(parsed) == 1 else text
