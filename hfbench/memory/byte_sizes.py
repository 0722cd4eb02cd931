"""Byte sizes: "4GB" and "512MiB" read as numbers of bytes, and written."""

from __future__ import annotations

import re

from hfbench.errors import ConfigError
from hfbench.messages import quoted
from hfbench.setting_checks import as_python

UNITS = {"B": 1, **{f"{p}B": 1000**i for i, p in enumerate("KMGT", 1)}}
UNITS |= {f"{p}iB": 1024**i for i, p in enumerate("KMGT", 1)}
_BY_LETTERS = {unit.lower(): factor for unit, factor in UNITS.items()}


def bytes_of(given: int | str | None, where: str = "max_bytes") -> int | None:
    """The number of bytes of 4_000_000_000, "4GB", "512 MiB" or None; for others ConfigError, naming `where`."""
    number = as_python(given)
    if number is None or (isinstance(number, int) and not isinstance(number, bool) and number >= 1):
        return number
    parts = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", given.lower()) if isinstance(given, str) else None
    factor = _BY_LETTERS.get(parts[2]) if parts else None
    size = round(float(parts[1]) * factor) if parts and factor else 0
    if size < 1:
        raise ConfigError(
            f'{where}: must be a number of bytes from 1, or one with its unit, "4GB" or "512MiB", say, but got '
            f"{quoted(given)}; units: {', '.join(UNITS)}."
        )
    return size


def in_words(number: float) -> str:
    """A number of bytes to three digits, in the largest decimal unit that it has one of: 1.25 GB."""
    for unit in ("TB", "GB", "MB", "KB"):
        if number >= UNITS[unit]:
            return f"{number / UNITS[unit]:.3g} {unit}"
    return f"{number:.0f} B"
