"""Checks of settings: numbers of Python, NumPy or PyTorch, and names among known ones."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from hfbench.errors import ConfigError
from hfbench.messages import did_you_mean, quoted

MOST_WHOLE = 2**63 - 1  # what TOML, Parquet and PyTorch hold as a whole number
DEEPEST = 12  # tables and lists in one another


def as_python(value: Any) -> Any:
    """The Python number that a NumPy scalar or a tensor without dimensions holds; any other value unchanged."""
    holds_one = getattr(value, "shape", None) == () and hasattr(value, "item")
    return value.item() if holds_one and not getattr(value, "is_meta", False) else value  # meta tensors hold nothing


def has_entries(value: Any) -> bool:
    """True for a list or another iterable of entries; texts, tables and scalars (of NumPy, PyTorch) have none."""
    is_single = isinstance(value, str | bytes | Mapping) or getattr(value, "shape", None) == ()
    return isinstance(value, Iterable) and not is_single


def whole_number(value: Any, where: str, least: int = 1) -> int:
    """The value as an int, at least `least`. Raises ConfigError, which names `where`, for any other value."""
    number = as_python(value)
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise ConfigError(f"{where}: must be a whole number from {least}, but got {quoted(value)}.")
    return number


def non_negative_number(value: Any, where: str) -> float:
    """The value as a float in [0, inf). Raises ConfigError, which names `where`, for any other value."""
    number = as_python(value)
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    if not (is_number and 0 <= number <= sys.float_info.max):
        raise ConfigError(f"{where}: must be a number in [0, inf), but got {quoted(value)}.")
    return float(number)


def one_of(name: Any, known: Collection[str], where: str) -> str:
    """The name, if it is a known one. Raises ConfigError, which names `where`, for any other value."""
    if not isinstance(name, str) or name not in known:
        close = did_you_mean(name, known)
        raise ConfigError(f"{where}: must be one of {', '.join(known)}, but got {quoted(name)}{close}.")
    return name
