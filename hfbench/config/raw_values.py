"""Bounds on what a study file may hold at all, checked before the meaning of any value.

TOML itself asks for whole numbers of 64 bits; depth and length of keys are those that key paths need.
"""

from __future__ import annotations

from datetime import date, time
from typing import Any

from hfbench.errors import ConfigError
from hfbench.messages import quoted
from hfbench.parts.families import LONGEST_NAME
from hfbench.setting_checks import DEEPEST, MOST_WHOLE


def check_raw(raw: dict[str, Any]) -> None:
    """Raises ConfigError, which names the key path, for a key, a depth or a number out of bounds, and for a date."""
    waiting: list[tuple[str, int, Any]] = [("", 0, raw)]  # no recursion: the depth is what is checked
    while waiting:
        path, depth, value = waiting.pop()
        if isinstance(value, dict | list) and depth > DEEPEST:
            raise ConfigError(f"{path}: must be at most {DEEPEST} tables and lists in one another, but is more.")
        if isinstance(value, dict):
            for key, entry in value.items():
                check_key(key, path)
                waiting.append((f"{path}.{key}" if path else key, depth + 1, entry))
        elif isinstance(value, list):
            # Below the first list no path is built: it would hold every index.
            waiting += [(path, depth + 1, entry) for entry in value]
        elif isinstance(value, int) and not -MOST_WHOLE <= value <= MOST_WHOLE:
            raise ConfigError(f"{path}: must be a whole number of 64 bits, below 2^63, but got {quoted(value)}.")
        elif isinstance(value, date | time):  # of TOML's types those that no record holds
            raise ConfigError(f"{path}: must not be a date or a time, but got {value}: write it in quotes.")


def check_key(key: str, where: str) -> None:
    """Raises ConfigError, which begins with `where`, for a key that is no word of at most `LONGEST_NAME` letters."""
    if not 0 < len(key) <= LONGEST_NAME or not key.isprintable():
        above = f"{where}: " if where else ""
        raise ConfigError(f"{above}a key must be 1 to {LONGEST_NAME} printable characters, but got {quoted(key)}.")
