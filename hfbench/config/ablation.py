"""`[ablation]`: the methods between two ends.

A factor is a key path of a method's table ("solver", "preconditioner.exponent", "globalization.line_search", "layout")
with two levels: its value in the method `from` (0) and in the method `to` (1). The designs:
    add-one        `from`, and `from` with one factor at `to`'s value, for every factor
    leave-one-out  `to`, and `to` with one factor back at `from`'s value, for every factor
    factorial      all 2^k combinations of k factors; `from` and `to` are two of them
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any

from hfbench.config.key_paths import value_at, with_values
from hfbench.errors import ConfigError
from hfbench.messages import did_you_mean, listed, printable_line, quoted
from hfbench.parts.hyperparameters import Choice, part

if TYPE_CHECKING:
    from hfbench.config.methods import Method

DESIGNS = ("add-one", "leave-one-out", "factorial")
MOST_FACTORS = 6  # 64 methods

Levels = tuple[int, ...]


@part
class AblationTable:
    """The table as the study file has it."""

    from_: Annotated[str, "the method at level 0 of every factor"]
    to: Annotated[str, "the method at level 1 of every factor"]
    factors: Annotated[list[str], "key paths of a method's table, such as solver or globalization.line_search"]
    design: Annotated[str, Choice(*DESIGNS), "the methods between the two ends to run"] = "factorial"


@dataclass(frozen=True)
class Ablation:
    """A resolved ablation: the methods it consists of, each with the level (0 from, 1 to) of every factor."""

    design: str
    start: str  # the method `from`
    end: str  # the method `to`
    factors: tuple[str, ...]
    values: dict[str, tuple[str, str]]  # what each factor is at `from` and at `to`, for people
    levels: dict[str, Levels]  # by method


def expand(table: AblationTable, methods: Mapping[str, Method]) -> tuple[dict[str, Method], Ablation]:
    """The ablation's methods by name, its ends included, and their levels.

    Raises ConfigError if an end is no method, if a factor is missing in an end, has the same value in both or is part
    of another factor, if there are too many factors, and if the ends differ in more than the factors.
    """
    start, end = (_method(methods, name, key) for name, key in ((table.from_, "from"), (table.to, "to")))
    factors = _factors(table.factors, start, end)
    _check_explained(start, end, factors)
    found: dict[str, Method] = {}
    levels: dict[str, Levels] = {}
    for combination in _combinations(table.design, len(factors)):
        method = _between(start, end, factors, combination, table.design)
        if method.name in found or (method.name in methods and method.name not in (start.name, end.name)):
            raise ConfigError(
                f"ablation: two methods would be called {quoted(method.name)}; rename one under [methods]."
            )
        found[method.name], levels[method.name] = method, combination
    values = {factor: _labels(_value(start, factor), _value(end, factor)) for factor in factors}
    return found, Ablation(table.design, start.name, end.name, tuple(factors), values, levels)


def _combinations(design: str, k: int) -> list[Levels]:
    if design == "factorial":
        return list(product((0, 1), repeat=k))
    base = int(design == "leave-one-out")
    one_changed = [tuple(1 - base if i == j else base for j in range(k)) for i in range(k)]
    return [(base,) * k, *one_changed]


def _between(start: Method, end: Method, factors: Sequence[str], levels: Levels, design: str) -> Method:
    """The method at these levels, named after the end it starts from and the levels it takes from the other."""
    if all(levels):
        return end
    if not any(levels):
        return start
    base, other, level = (end, start, 0) if design == "leave-one-out" else (start, end, 1)
    changed = {
        factor: _value(other, factor) for factor, own_level in zip(factors, levels, strict=True) if own_level == level
    }
    names = [_name(factor, value) for factor, value in changed.items()]
    return with_values(base, changed, "_".join([base.name, *names])[:64])


# ---------------------------------------------------------------- factors


def _factors(given: Sequence[Any], start: Method, end: Method) -> list[str]:
    if not given or len(given) > MOST_FACTORS:
        raise ConfigError(f"ablation.factors: must be 1 to {MOST_FACTORS} key paths, but got {len(given)}.")
    for factor in given:
        if not isinstance(factor, str):
            raise ConfigError(f"ablation.factors: must be key paths of a method's table, but got {quoted(factor)}.")
        before, after = (_value(method, factor) for method in (start, end))
        if before == after:
            shown = printable_line(_label(before))
            raise ConfigError(
                f"ablation.factors: {factor} is {shown} in both {start.name} and {end.name}, so there is nothing to "
                "compare; drop it or change one end."
            )
    for factor in given:
        inside = [other for other in given if other == factor or other.startswith(f"{factor}.")]
        if len(inside) > 1:
            raise ConfigError(f"ablation.factors: {' and '.join(inside)} overlap; keep one of them.")
    return list(given)


def _value(method: Method, factor: str) -> Any:
    try:
        return value_at(method, factor)
    except ConfigError as error:
        raise ConfigError(f"ablation.factors: {quoted(factor)} must exist in both ends, but {error}") from None


def _check_explained(start: Method, end: Method, factors: Sequence[str]) -> None:
    """Raises unless setting every factor of `start` to `end`'s value gives `end`."""
    changed = with_values(start, {factor: _value(end, factor) for factor in factors}, end.name)
    unexplained = [
        path
        for field in dataclasses.fields(end)
        for path in _differences(field.name, getattr(changed, field.name), getattr(end, field.name))
    ]
    if unexplained:
        raise ConfigError(
            f"ablation: {start.name} and {end.name} must differ in the factors alone, but also differ in "
            f"{listed(unexplained)}; make these factors too, or alike in both ends."
        )


def _differences(path: str, one: Any, other: Any) -> list[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping) and one.get("use") == other.get("use"):
        return [
            found for key in {**one, **other} for found in _differences(f"{path}.{key}", one.get(key), other.get(key))
        ]
    return [] if one == other else [path]


# ---------------------------------------------------------------- names


def _method(methods: Mapping[str, Method], name: str, key: str) -> Method:
    if name not in methods:
        close = did_you_mean(name, methods)
        raise ConfigError(
            f"ablation.{key}: must name a method of the study, but got {quoted(name)}{close}; known: {listed(methods)}."
        )
    return methods[name]


def _label(value: Any) -> str:
    """Label of a level: the part's name, on or off, or the value."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Mapping):
        return str(value.get("use", value))
    if isinstance(value, list | tuple):
        return "+".join(_label(entry) for entry in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _labels(before: Any, after: Any) -> tuple[str, str]:
    """Both levels of a factor; one part with two settings is distinguished by the settings that differ."""
    labels = _label(before), _label(after)
    if labels[0] != labels[1] or not isinstance(before, Mapping):
        return labels
    differing = [key for key in before if before[key] != after.get(key)]
    described = (", ".join(f"{key} {_label(value[key])}" for key in differing) for value in (before, after))
    first, second = (f"{labels[0]} ({text})" for text in described)
    return first, second


def _name(factor: str, value: Any) -> str:
    """A factor's label in a method's name: the part, or the last key with its value."""
    label = _label(value)
    named = label if isinstance(value, Mapping | list | tuple) else f"{factor.rpartition('.')[2]}-{label}"
    return re.sub(r"[^A-Za-z0-9-]+", "-", named).strip("-")
