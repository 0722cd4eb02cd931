"""Tables on the screen that break no word as long as another column has room to give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

NARROWEST = 4  # characters that a column keeps where not even whole words fit
ENDLESS = 10_000


class Grid(Table):
    """A table whose columns are as wide as their longest word, or wider: rich alone shrinks the widest, words or not.

    Where the longest words do not fit side by side either, columns that fold break theirs first, the widest of them.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for column, width in zip(self.columns, self._widths(console, options), strict=True):
            column.width = width
        yield from super().__rich_console__(console, options)

    def _widths(self, console: Console, options: ConsoleOptions) -> Sequence[int | None]:
        endless = options.update(width=ENDLESS)
        sizes = [_size(column, console, endless) for column in self.columns]
        between = Measurement.get(console, endless, self).maximum - sum(size.maximum for size in sizes)
        spare = options.max_width - between - sum(size.minimum for size in sizes)
        if options.max_width >= between + sum(size.maximum for size in sizes):
            return [None] * len(sizes)
        widths = [size.minimum for size in sizes]
        while spare > 0:  # to the narrowest that wants more
            wanting = [index for index, size in enumerate(sizes) if widths[index] < size.maximum]
            widths[min(wanting, key=lambda index: widths[index])] += 1
            spare -= 1
        for folding in (True, False):
            able = {i: _floor(column) for i, column in enumerate(self.columns) if _breaks(column, folding)}
            while spare < 0 and (wide := [index for index, floor in able.items() if widths[index] > floor]):
                widths[max(wide, key=lambda index: widths[index])] -= 1
                spare += 1
        return widths


def _breaks(column: Column, folding: bool) -> bool:
    return not column.no_wrap and (column.overflow == "fold") == folding


def _floor(column: Column) -> int:
    return column.min_width or NARROWEST


def _size(column: Column, console: Console, options: ConsoleOptions) -> Measurement:
    """The longest word and the longest cell of a column."""
    sizes = [Measurement.get(console, options, cell) for cell in (column.header, *column.cells)]
    most = max([column.min_width or 0, *(size.maximum for size in sizes)])
    return Measurement(most if column.no_wrap else max(size.minimum for size in sizes), most)


class Pieces:
    """Text in a table that is broken between its pieces only; one that is too long for its column is folded."""

    def __init__(self, pieces: Sequence[str], style: str = "") -> None:
        self.pieces, self.style = pieces, style

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(
            max((len(piece.rstrip()) for piece in self.pieces), default=0), len("".join(self.pieces).rstrip())
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        lines = [""]
        for piece in self.pieces:
            if len((lines[-1] + piece).rstrip()) <= options.max_width:
                lines[-1] += piece
            else:
                lines.append(piece)
        yield Text("\n".join(line.rstrip() for line in lines if line), style=self.style, overflow="fold")
