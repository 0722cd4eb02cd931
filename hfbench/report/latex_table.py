"""Table as LaTeX, in the manner of booktabs: words to the left, numbers to the right with their points in line."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from hfbench.report.document import Mono, Piece, Strong, Table, Text, is_word, pieces
from hfbench.report.latex_text import inline_latex, literal_latex

LONGEST = 40  # rows of a table on one page
SIZES = {"small": 104, "footnotesize": 112}  # with the characters of a line of the report
GAP = 3  # characters between two columns
NARROWEST = 9  # characters of a column
WIDER = {Mono: 1.25, Strong: 1.1}  # than usual, a character of the typewriter and the bold font
HEAD = 10  # characters of a name at the head of a column, beyond which it is set in lines
NUMBER = re.compile(r"(?:(\.\d+)|(?<=\d))x?$")  # the end of `.031`, `317`, `≥0.71x` and `0.58-0.78`


@dataclass(frozen=True)
class _Column:
    """A column in LaTeX: its alignment as tabular takes it, its head and its cells."""

    side: str
    head: str
    cells: Sequence[str]


def table_latex(table: Table, caption: str, label: str) -> str:
    """A table with caption and label: a float or, if it is longer than a page, a longtable. `caption` is LaTeX."""
    size, widths = _fitted(table)
    columns = [_column(table, index, width, SIZES[size]) for index, width in enumerate(widths)]
    end = r"\\" if widths.count(None) == len(widths) else r"\\ \addlinespace"  # rows of several lines stand apart
    rows = [f"{' & '.join(cells)} {end}" for cells in zip(*(column.cells for column in columns), strict=True)]
    head = [rf"{' & '.join(column.head for column in columns)} \\", r"\midrule"] if any(table.head) else []
    named, sides = rf"\caption{{{caption}}}\label{{{label}}}", "".join(column.side for column in columns)
    whole = _long if len(rows) > LONGEST else _float
    return "\n".join(whole(named, rf"\{size}", sides, [r"\toprule", *head], rows))


def _float(named: str, size: str, sides: str, top: Sequence[str], rows: Sequence[str]) -> list[str]:
    return [
        r"\begin{table}",
        r"  \centering",
        rf"  {named}\smallskip",
        f"  {size}",
        rf"  \begin{{tabular}}{{{sides}}}",
        *(f"    {line}" for line in (*top, *rows, r"\bottomrule")),
        r"  \end{tabular}",
        r"\end{table}",
    ]


def _long(named: str, size: str, sides: str, top: Sequence[str], rows: Sequence[str]) -> list[str]:
    on_every_page = [*top, r"\endfirsthead", *top, r"\endhead", r"\bottomrule", r"\endlastfoot"]
    return [
        f"{{{size}",
        rf"\begin{{longtable}}{{{sides}}}",
        *(f"  {line}" for line in (rf"{named} \\", *on_every_page, *rows)),
        r"\end{longtable}}",
    ]


# ---------------------------------------------------------------- columns


def _fitted(table: Table) -> tuple[str, list[float | None]]:
    """The size of the letters, the largest in which no line is broken or else the smallest, and the widths in it."""
    fitted = {size: _widths(table, line) for size, line in SIZES.items()}
    return next((each for each in fitted.items() if not any(each[1])), list(fitted.items())[-1])


def _column(table: Table, index: int, width: float | None, line: int) -> _Column:
    side, ragged = ("l", "raggedright") if is_word(table, index) else ("r", "raggedleft")
    cells = _cells(table, index, width)
    if width is None:
        return _Column(side, _stacked(_lines(table, index), side), cells)
    broken = rf">{{\{ragged}\arraybackslash}}p{{{width / line:.3f}\linewidth}}"
    return _Column(broken, literal_latex(table.head[index]), cells)


def _widths(table: Table, line: int) -> list[float | None]:
    """Characters of each column whose lines must be broken; None for one that is as wide as what is in it.

    Of the room that there is, every column gets what it needs or an equal share of what the narrower ones leave.
    """
    needed = [max([*map(len, _lines(table, index)), *_lengths(table, index)]) for index in range(len(table.head))]
    left, widths = float(line - GAP * len(needed)), list[float | None]([None] * len(needed))
    for rank, index in enumerate(sorted(range(len(needed)), key=needed.__getitem__)):
        share = left / (len(needed) - rank)
        if needed[index] > share:
            widths[index] = max(share, NARROWEST)
        left -= min(needed[index], share)
    return widths


def _lengths(table: Table, column: int) -> list[int]:
    return [sum(map(_length, pieces(row[column]))) for row in table.rows]


def _length(piece: Piece) -> int:
    """Characters of usual width."""
    return len(piece) if isinstance(piece, str) else math.ceil(WIDER[type(piece)] * len(piece.text))


def _lines(table: Table, column: int) -> list[str]:
    """The name of a column in lines that are about as wide as its cells."""
    return textwrap.wrap(table.head[column], max([HEAD, *_lengths(table, column)]), break_long_words=False)


def _stacked(lines: Sequence[str], side: str) -> str:
    said = r" \\ ".join(map(literal_latex, lines))
    return said if len(lines) < 2 else rf"\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}{said}\end{{tabular}}"


def _cells(table: Table, column: int, width: float | None) -> list[str]:
    texts = [row[column] for row in table.rows]
    cells = [inline_latex(text) if width is None else inline_latex(text, int(width / WIDER[Mono])) for text in texts]
    if is_word(table, column) or width is not None:
        return cells
    tails = [found[1] or "" if (found := NUMBER.search(_plain(text))) else None for text in texts]
    longest = max((tail for tail in tails if tail is not None), key=len, default="")
    return [cell if tail is None else cell + _space(longest, tail) for cell, tail in zip(cells, tails, strict=True)]


def _space(longest: str, tail: str) -> str:
    """As much room as a number lacks after its point: digits are equally wide."""
    lacks = longest[len(tail) :] if not tail else "0" * (len(longest) - len(tail))
    return rf"\phantom{{{lacks}}}" if lacks else ""


def _plain(text: Text) -> str:
    return "".join(piece if isinstance(piece, str) else piece.text for piece in pieces(text))
