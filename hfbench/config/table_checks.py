"""Checks that the tables of study files share: tables, names, known names, values without repetition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import MISSING
from typing import Any

from hfbench.errors import ConfigError
from hfbench.messages import did_you_mean, listed, quoted
from hfbench.parts import hyperparameters
from hfbench.parts.families import check_name
from hfbench.parts.hyperparameters import Hyperparameter, Within


def table_of(raw: Mapping[str, Any], key: str, path: str = "") -> dict[str, Any]:
    value = raw.get(key, {})
    if not isinstance(value, dict):
        raise ConfigError(f"{path}{key}: must be a table, but got {quoted(value)}.")
    return value


def tables_of(raw: Mapping[str, Any], key: str, path: str = "") -> dict[str, dict[str, Any]]:
    table = table_of(raw, key, path)
    for name in table:
        check_name(name, f"{path}{key}.{name}")
    return {name: table_of(table, name, f"{path}{key}.") for name in table}


def check_known(name: str, known: Iterable[str], where: str, kind: str) -> None:
    known = list(known)
    if name not in known:
        given = f"{quoted(name)}{did_you_mean(name, known)}"
        raise ConfigError(f"{where}: must name a {kind} of the study, but got {given}; known: {listed(known)}.")


def distinct(values: list[Any], where: str) -> list[Any]:
    if not values:
        raise ConfigError(f"{where}: must not be empty.")
    written = [repr(value) for value in values]  # lists and tables have no hash
    shown, times = Counter(written).most_common(1)[0]
    value = values[written.index(shown)]
    if times > 1:
        raise ConfigError(f"{where}: must not repeat a value, but {quoted(value)} occurs {times} times.")
    return values


def checked(value: Any, kind: type, within: Within | None, where: str) -> Any:
    return hyperparameters.check_value(Hyperparameter("", kind, MISSING, None, within, ""), value, where)


def seeds_of(given: Any, where: str, first: int = 0) -> tuple[int, ...]:
    """The seeds `first`, …, `first` + n − 1 for a count n, or those of a list."""
    if not isinstance(given, list):
        return tuple(range(first, first + checked(given, int, Within("[1, 10000]"), where)))
    natural = Within("[0, inf)")
    return tuple(distinct([checked(seed, int, natural, f"{where}[{i}]") for i, seed in enumerate(given)], where))
