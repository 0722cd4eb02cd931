"""Pieces of messages: quoted values, the nearest known name, counts with their noun, levels, ranges, wrapped lines."""

from __future__ import annotations

import itertools
import math
import re
import reprlib
import textwrap
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from typing import Any

# Spaces at which no line is broken: between a number and its unit, and within `95 % CI` and `80 % power`.
UNIT = re.compile(r"(?<=\d) (?=%|(?:s|ms|min|h|[kMGT]i?B)\b)|(?<=%) (?=CI\b|power\b)")
LIKE = 0.6  # of two names, part of their letters in common: above it are slips, below it other words altogether

# Signs that a terminal acts on, or that end a text early or reorder it; lone surrogates, which no file can hold.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")

QUOTED = 80  # characters of a value that a message quotes
LONGEST = 200  # characters of a message that is not ours
LISTED = 400  # characters of names in a list


def quoted(value: object) -> str:
    """The value as `repr` writes it, at most `QUOTED` characters: of a longer one the middle is left out.

    Nothing is formed that is much longer than what is shown, and a `repr` that raises is no error here.
    """
    try:
        text = printable_line(_SHORT.repr(value), longest=10 * QUOTED)
    except Exception:
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= QUOTED else f"{text[: QUOTED // 2 - 2]}...{text[1 - QUOTED // 2 :]}"


def printable(text: str) -> str:
    """The text with a replacement character for each sign that cannot be printed or stored. Lines and tabs stay."""
    return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def printable_line(text: str, longest: int = LONGEST) -> str:
    """The beginning of a text from a file or a library in one line, without signs that a terminal would act on."""
    shown = "".join(sign if sign.isprintable() else " " for sign in text[: 10 * longest])
    return " ".join(shown.split())[:longest]


def listed(names: Iterable[object], longest: int = LISTED) -> str:
    """`cg, lsmr and 12 more`: the names as far as there is room, at least one."""
    words = [printable_line(str(name), QUOTED) for name in names]
    ends = itertools.accumulate(len(word) + 2 for word in words)
    shown = max(sum(end <= longest + 2 for end in ends), 1)
    more = len(words) - shown
    return ", ".join(words[:shown]) + (f" and {more} more" if more > 0 else "")


class _Short(reprlib.Repr):
    """Entries of a value up to the length of a message."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = self.maxlong = QUOTED
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 16

    def repr_dict(self, value: dict[Any, Any], level: int) -> str:  # in the order of the keys, not sorted
        if level <= 0:
            return "{...}"
        first = itertools.islice(value.items(), self.maxdict)
        shown = [f"{self.repr1(key, level - 1)}: {self.repr1(entry, level - 1)}" for key, entry in first]
        return f"{{{', '.join([*shown, *(['...'] if len(value) > self.maxdict else [])])}}}"

    def repr_int(self, value: int, level: int) -> str:
        # Python refuses to write out more than 4300 digits, and takes a time that grows with their square.
        bits = value.bit_length()
        return super().repr_int(value, level) if bits < 4096 else f"a whole number of {round(bits * 0.30103)} digits"


_SHORT = _Short()


def did_you_mean(given: object, known: Any) -> str:
    """` (did you mean 'x'?)` for the nearest known name, or nothing where none is like it."""
    near = nearest_name(given, known)
    return f" (did you mean {quoted(near)}?)" if near else ""


def nearest_name(given: object, known: Any) -> str | None:
    """The known name that the one given is likely a slip of."""
    word = str(given)[:LONGEST].lower()

    def likeness(name: str) -> tuple[float, float]:
        # Among equals the one with the same letters wins: `lsrm` is `lsmr` mistyped, not `lsqr`.
        letters = sorted(name.lower())
        return SequenceMatcher(None, word, name.lower()).ratio(), SequenceMatcher(None, sorted(word), letters).ratio()

    def is_part(name: str) -> bool:
        short, long = sorted((word, name.lower()), key=len)
        return len(short) >= 3 and short in long  # `erhan`, of `chapelle-erhan`

    names = [str(name) for name in known]
    near = max(names, key=likeness, default="")
    alike, letters = likeness(near)
    if alike > LIKE or letters == 1:
        return near
    return max(filter(is_part, names), key=likeness, default=None)


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
