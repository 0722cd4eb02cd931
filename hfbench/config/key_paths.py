"""Key paths into a method: `scheduler.theta`, `rules.relative-progress.epsilon`, `globalization.line_search`, `layout`.

A path goes through the tables of a method as a study file writes them; an entry of a list of parts is named by its
`use`. Ablations change what two methods have at a path, sweeps search over it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import MISSING
from typing import TYPE_CHECKING, Any

from hfbench.errors import ConfigError
from hfbench.messages import did_you_mean, listed, printable_line, quoted
from hfbench.parts import registry
from hfbench.parts.hyperparameters import Hyperparameter, hyperparameters

if TYPE_CHECKING:
    from hfbench.config.methods import Method


def value_at(method: Method, path: str) -> Any:
    """The method's value at the path. Raises ConfigError, with the known keys, for a path that does not exist."""
    value: Any = _table(method)
    for depth, key in enumerate(keys := path.split(".")):
        known = _entries(value)
        if key not in known:
            above = printable_line(".".join([f"methods.{method.name}", *keys[:depth]]))
            has = f"; it has {listed(sorted(known))}" if known else ""
            raise ConfigError(f"{above} has no {quoted(key)}{did_you_mean(key, sorted(known))}{has}.")
        value = known[key]
    return value


def with_values(method: Method, values: Mapping[str, Any], name: str) -> Method:
    """The method under another name, with these values at these paths; the values are not checked."""
    fields = _table(method)
    for path, value in values.items():
        fields = _with(fields, path.split("."), value)
    return dataclasses.replace(method, **{**fields, "name": name})


def declared_at(method: Method, path: str) -> Hyperparameter:
    """The hyper-parameter that a path names. Raises ConfigError if it names none, for example a whole part.

    An entry of a part's table, such as a keyword argument of a class, has the type of its value.
    """
    from hfbench.parts.protocols import SuggestsRanges  # brings torch

    value = value_at(method, path)
    family, *above = path.split(".")
    if len(above) > 1 and family not in ("globalization", "rules"):
        part = registry.build(family, value_at(method, family))
        ranges = part.ranges() if isinstance(part, SuggestsRanges) else {}
        return Hyperparameter(above[-1], type(value), MISSING, ranges.get(".".join(above)), None, "")
    *above, name = path.split(".")
    for hyperparameter in hyperparameters(_part(method, above)):
        if hyperparameter.name == name:
            return hyperparameter
    raise ConfigError(f"methods.{method.name}.{path} is no hyper-parameter of a part.")


def _part(method: Method, keys: Sequence[str]) -> type:
    """The class that declares the keys directly below these."""
    from hfbench.config.methods import MethodTable
    from hfbench.hessian_free.globalization import Globalization  # brings torch

    if not keys:
        return MethodTable
    if keys[0] == "globalization":
        return Globalization
    settings = value_at(method, path := ".".join(keys))
    if not isinstance(settings, Mapping):  # the list of rules
        raise ConfigError(f"methods.{method.name}.{path} is no part; take one of {listed(_entries(settings))}.")
    part: type = registry.get("rule" if keys[0] == "rules" else keys[0], settings["use"])
    return part


def _table(method: Method) -> dict[str, Any]:
    return {field.name: getattr(method, field.name) for field in dataclasses.fields(method) if field.name != "name"}


def _entries(value: Any) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    if isinstance(value, tuple):
        return {entry["use"]: entry for entry in value}
    return {}


def _with(table: Any, keys: Sequence[str], value: Any) -> Any:
    """A copy of the table with another value."""
    key, *below = keys
    if isinstance(table, tuple):
        return tuple(_with(entry, below, value) if entry["use"] == key else entry for entry in table)
    return {**table, key: _with(table[key], below, value) if below else value}
