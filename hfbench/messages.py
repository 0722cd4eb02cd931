"""Pieces of messages: the nearest known name, counts with their noun, levels, ranges of numbers, and wrapped lines."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

# Spaces at which no line is broken: between a number and its unit, and within `95 % CI` and `80 % power`.
UNIT = re.compile(r"(?<=\d) (?=%|(?:s|ms|min|h|[kMGT]i?B)\b)|(?<=%) (?=CI\b|power\b)")
LIKE = 0.6  # of two names, part of their letters in common: above it are slips, below it other words altogether


def did_you_mean(given: object, known: Any) -> str:
    """` (did you mean 'x'?)` for the nearest known name, or nothing where none is like it."""
    near = nearest_name(given, known)
    return f" (did you mean {near!r}?)" if near else ""


def nearest_name(given: object, known: Any) -> str | None:
    """The known name that the one given is likely a slip of."""
    word = str(given).lower()

    def likeness(name: str) -> tuple[float, float]:
        # Among equals the one with the same letters wins: `lsrm` is `lsmr` mistyped, not `lsqr`.
        letters = sorted(name.lower())
        return SequenceMatcher(None, word, name.lower()).ratio(), SequenceMatcher(None, sorted(word), letters).ratio()

    near = max(map(str, known), key=likeness, default="")
    alike, letters = likeness(near)
    short, long = sorted((word, near.lower()), key=len)
    part_of_it = len(short) >= 3 and short in long  # `erhan`, of `chapelle-erhan`
    return near if alike > LIKE or letters == 1 or part_of_it else None


def count(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"


def level_text(level: float) -> str:
    """`95 %` or `93.7 %`: a level of confidence, rounded down, since more must not be said than holds."""
    return f"{math.floor(1000 * level + 1e-9) / 10:g} %"


def ranges(numbers: Sequence[int]) -> str:
    """Whole numbers with those that follow one another as a range: `0-4, 7`."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def wrap_text(text: str, width: int, indent: str = "") -> str:
    """The text in lines of at most `width`, all but the first indented. A path, which has no space, stays whole."""
    lines = textwrap.wrap(
        UNIT.sub("\N{NO-BREAK SPACE}", text), width, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")
