"""Search ranges of a sweep: of a setting as written, completed from the range that its part declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from hfbench.config.key_paths import declared_at, value_at
from hfbench.config.methods import Method
from hfbench.config.table_checks import distinct
from hfbench.errors import ConfigError
from hfbench.messages import quoted
from hfbench.parts import hyperparameters
from hfbench.parts.hyperparameters import Choice, Hyperparameter, Integers, Linear, Log, Search, part


@part
class _Range:
    low: Annotated[float | None, "lower end"] = None
    high: Annotated[float | None, "upper end"] = None
    log: Annotated[bool | None, "search on a logarithmic scale"] = None
    values: Annotated[list[Any] | None, "the values to choose from, instead of a range"] = None


def search_ranges(given: Mapping[str, Any], where: str, method: Method, sampler: str) -> dict[str, Search]:
    """The search range of each setting that a table names, by key path. Raises ConfigError with that of an error."""
    if not given:
        raise ConfigError(f"{where}: must name at least one setting, such as scheduler.theta = {{}}.")
    return {path: _search(path, written, f"{where}.{path}", method, sampler) for path, written in _flat(given, where)}


def _flat(table: Mapping[str, Any], where: str, above: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The ranges by path; TOML makes nested tables of dotted keys."""
    known = {hyperparameter.name for hyperparameter in hyperparameters.hyperparameters(_Range)}
    for key, value in table.items():
        path = f"{above}{key}"
        if not isinstance(value, Mapping):
            raise ConfigError(
                f"{where}.{path}: must be a range, {{}} for the declared one, {{ low = 0.1, high = 10 }} or "
                f"{{ values = [1, 2, 5] }}, but got {quoted(value)}."
            )
        if value and not known & set(value):
            yield from _flat(value, where, f"{path}.")
        else:
            yield path, value


def _search(path: str, written: Mapping[str, Any], where: str, method: Method, sampler: str) -> Search:
    try:
        declared, now = declared_at(method, path), value_at(method, path)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    given = hyperparameters.build_part(_Range, written, where)
    if written and given.values is None and (isinstance(now, bool) or not isinstance(now, int | float)):
        raise ConfigError(
            f"{where}: only a number has a range, but {method.name} has {quoted(now)} there; give {{ values = [...] }}."
        )
    search = _given_search(given, declared, where) or _declared_search(declared, where)
    if not _holds(search, now):
        raise ConfigError(f"{where}: must contain what {method.name} has, {quoted(now)}, but it is {searched(search)}.")
    if sampler == "grid" and not isinstance(search, Choice):
        raise ConfigError(f"{where}: a grid needs values = [...], but got a range, {search}.")
    return search


def searched(search: Search) -> str:
    """Search range of a setting as text."""
    return ", ".join(map(shown, search.values)) if isinstance(search, Choice) else str(search)


def shown(value: Any) -> str:
    """Value of a setting as text, to three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _holds(search: Search, value: Any) -> bool:
    return value in search.values if isinstance(search, Choice) else search.low <= value <= search.high


def _declared_search(declared: Hyperparameter, where: str) -> Search:
    if declared.search is not None:
        return declared.search
    if declared.type is bool:
        return Choice(False, True)
    raise ConfigError(
        f"{where}: {declared.name} declares no range; give one, {{ low = …, high = … }} or {{ values = […] }}."
    )


def _given_search(given: Any, declared: Hyperparameter, where: str) -> Search | None:
    """The range as written, completed from the declared one; None if nothing is given."""
    if given.values is not None:
        if (given.low, given.high, given.log) != (None, None, None):
            raise ConfigError(f"{where}: must have either values or a range, but has both.")
        values = distinct(
            [hyperparameters.check_value(declared, value, f"{where}.values") for value in given.values],
            f"{where}.values",
        )
        with hyperparameters.located(f"{where}.values"):
            return Choice(*values)
    if (given.low, given.high, given.log) == (None, None, None):
        return None
    base = declared.search
    known = base if isinstance(base, Log | Linear | Integers) else None
    low, high = (
        getattr(known, end, None) if bound is None else bound
        for end, bound in (("low", given.low), ("high", given.high))
    )
    if low is None or high is None:
        raise ConfigError(f"{where}: must have both low and high, since {declared.name} declares no range.")
    whole = isinstance(known, Integers) or declared.type is int
    ends = [
        hyperparameters.check_value(declared, int(end) if whole and end == int(end) else end, where)
        for end in (low, high)
    ]
    if declared.within is not None and not declared.within.holds_between(*ends):
        raise ConfigError(
            f"{where}: all from low to high must lie in {declared.within.text}, but got {low:g} to {high:g}."
        )
    log = given.log if given.log is not None else isinstance(known, Log) or getattr(known, "log", False)
    with hyperparameters.located(where):
        return Integers(ends[0], ends[1], log) if whole else Log(*ends) if log else Linear(*ends)
