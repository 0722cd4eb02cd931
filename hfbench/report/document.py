"""Document as plain data, and as Markdown: the content of a report without its layout.

Every text is literal: names, questions and error messages come from files and are never read as markup.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hfbench.messages import printable

MEANING = frozenset("\\|`*_[]#!~$")  # what Markdown would read as something else


@dataclass(frozen=True)
class Strong:
    """Emphasised text, optionally in the colour of a tone: good, bad, same, open or faint."""

    text: str
    tone: str = ""


@dataclass(frozen=True)
class Mono:
    """Text in a fixed-width font: a command or a checksum."""

    text: str


Piece = str | Strong | Mono
Text = Piece | tuple[Piece, ...]


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    text: Text
    role: str = ""  # "lead", "note" or "warning"


@dataclass(frozen=True)
class Bullets:
    items: Sequence[Text]
    role: str = ""  # "note"


@dataclass(frozen=True)
class Table:
    """Cells by row; the columns from `numbers` on are right-aligned."""

    head: Sequence[str]
    rows: Sequence[Sequence[Text]]
    caption: str = ""
    numbers: int = 1
    words: int = 0  # as many columns at the end are words again
    folded: bool = False  # shut until it is opened, on screens
    name: str = ""  # of its file, where there is one; by default that of the heading


@dataclass(frozen=True)
class ImageBlock:
    """A figure as PNG and SVG in the document's folder; `alt` describes it for readers who cannot see it."""

    png: Path
    svg: Path
    caption: str
    alt: str
    pdf: Path | None = None  # for LaTeX


@dataclass(frozen=True)
class Code:
    text: str


Block = Heading | Paragraph | Bullets | Table | ImageBlock | Code


@dataclass(frozen=True)
class Document:
    title: str
    blocks: Sequence[Block]


def pieces(text: Text) -> tuple[Piece, ...]:
    return text if isinstance(text, tuple) else (text,)


# ---------------------------------------------------------------- Markdown


def document_markdown(document: Document) -> str:
    """The document in GitHub's Markdown, its figures by their names in the same folder."""
    parts = [f"# {literal(document.title)}", *("\n".join(_block(block)) for block in document.blocks)]
    return "\n\n".join(parts) + "\n"


def literal(text: str) -> str:
    """A text of one line, escaped so that HTML and Markdown in it have no effect."""
    escaped = html.escape(printable(text), quote=False).replace("\n", " ")
    signs = "".join(f"\\{sign}" if sign in MEANING else sign for sign in escaped)
    return re.sub(r"^(\s*\d*)([-+.)])(\s)", r"\1\\\2\3", signs)  # no list at the start of a line


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Heading):
        yield f"{'#' * block.level} {literal(block.text)}"
    elif isinstance(block, Paragraph):
        yield f"**Note.** {inline_markdown(block.text)}" if block.role == "warning" else inline_markdown(block.text)
    elif isinstance(block, Bullets):
        yield from (f"- {inline_markdown(item)}" for item in block.items)
    elif isinstance(block, Table):
        yield from _table(block)
    elif isinstance(block, ImageBlock):
        yield f"![{literal(block.alt)}]({block.png.name})\n\n{literal(block.caption)}"
    else:
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", block.text)), default=0))
        yield f"{fence}sh\n{printable(block.text)}\n{fence}"


def _table(table: Table) -> Iterator[str]:
    if table.caption:
        yield f"{literal(table.caption)}\n"
    yield row_of([literal(name) for name in table.head])
    yield row_of([":---" if is_word(table, index) else "---:" for index in range(len(table.head))])
    for row in table.rows:
        yield row_of([inline_markdown(cell) for cell in row])


def is_word(table: Table, column: int) -> bool:
    """True if a column is left-aligned."""
    return column < table.numbers or column >= len(table.head) - table.words


def row_of(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def inline_markdown(text: Text) -> str:
    """A text within a line."""
    return "".join(_piece(piece) for piece in pieces(text))


def _piece(one: Piece) -> str:
    if isinstance(one, str):
        return literal(one)
    if isinstance(one, Mono):
        return f"<code>{literal(one.text)}</code>"
    return literal(one.text) if one.tone == "faint" or not one.text else f"**{literal(one.text)}**"
