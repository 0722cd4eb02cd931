"""Formulas of a page: code hosts draw $`x`$ and blocks named `math`, other builders read other marks."""

from __future__ import annotations

import re
from collections.abc import Callable

PIECE = re.compile(
    r"^(?P<fence>`{3,})(?P<kind>[^\n]*)\n(?P<block>.*?)^(?P=fence)$"
    r"|\$`(?P<inline>[^`]+)`\$"
    r"|(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)",
    re.MULTILINE | re.DOTALL,
)
DOLLARS = ("${}$", "$${}$$")
BRACKETS = (r"\({}\)", r"\[{}\]")  # of arithmatex, which never takes a price for one


def rewritten(page: str, marks: tuple[str, str]) -> str:
    """The page with these marks around its formulas; all else stays as it is."""

    def change(piece: re.Match[str]) -> str:
        if piece["inline"]:
            return marks[0].format(piece["inline"])
        return marks[1].format(piece["block"].strip()) if piece["kind"] == "math" else piece[0]

    return PIECE.sub(change, page)


def outside_code(page: str, change: Callable[[str], str]) -> str:
    """The page with all that is neither code nor formula changed."""
    parts, end = [], 0
    for piece in PIECE.finditer(page):
        parts += [change(page[end : piece.start()]), piece[0]]
        end = piece.end()
    return "".join([*parts, change(page[end:])])
