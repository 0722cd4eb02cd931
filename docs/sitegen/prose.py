"""`python -m docs.sitegen.prose [FILE …]`: words, long sentences and question-word openings of every page, as a table.

A table cell, a heading and a list item each end a sentence. Code blocks are left out; a formula is one word.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
LONG = 30  # words of a sentence; one that has more is long
WRITTEN = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "studies/README.md", "docs/**/*.md")
MADE = "<!-- Made by"  # the beginning of a page that the code writes

MARKDOWN = MarkdownIt("commonmark").enable("table")
FORMULA = re.compile(r"\$`[^`]+`\$|\\\(.+?\\\)|\\\[.+?\\\]", re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
END = re.compile(r"(?<=[.!?])[)\"”*]*\s+")
OPENING = re.compile(r"(?:What|How|Which|Where)\b")


@dataclass(frozen=True)
class Counts:
    """The counts of one page; an opening is a heading or paragraph that has a question word first and asks nothing."""

    words: int
    long: list[str]
    openings: list[str]


def counts(page: str) -> Counts:
    """The counts of a page of Markdown."""
    texts = list(_texts(page))
    told = [sentence for _, text in texts for sentence in END.split(text)]
    firsts = [END.split(text)[0] for kind, text in texts if kind != "cell"]
    return Counts(
        words=sum(map(_words, told)),
        long=[sentence for sentence in told if _words(sentence) > LONG],
        openings=[first for first in firsts if OPENING.match(first) and not first.rstrip("* ").endswith("?")],
    )


def pages() -> dict[str, str]:
    """Every page that is written by hand, by its path in the repository."""
    files = sorted({file for pattern in WRITTEN for file in ROOT.glob(pattern)})
    texts = {file.relative_to(ROOT).as_posix(): file.read_text("utf-8") for file in files}
    return {path: text for path, text in texts.items() if not text.startswith(MADE)}


def _texts(page: str) -> Iterator[tuple[str, str]]:
    """The kind and the text of every heading, paragraph and table cell."""
    page = FRONT_MATTER.sub("", COMMENT.sub("", page))
    tokens = MARKDOWN.parse(FORMULA.sub("formula", page))
    for opened, token in zip(tokens, tokens[1:], strict=False):
        if token.type == "inline" and (text := _text(token).strip()):
            yield "cell" if opened.type in ("td_open", "th_open") else opened.type.removesuffix("_open"), text


def _text(inline: Token) -> str:
    """The words that a reader sees: no address, no picture."""
    kinds = {"softbreak": " ", "hardbreak": " "}
    return "".join(
        kinds.get(child.type, child.content if child.type in ("text", "code_inline") else "")
        for child in inline.children or []
    )


def _words(sentence: str) -> int:
    return sum(any(letter.isalnum() for letter in word) for word in sentence.split())


def main(files: Sequence[str]) -> int:
    """Prints the table, longest pages first, and the sum of each column."""
    texts = {name: Path(name).read_text("utf-8") for name in files} or pages()
    rows = [(name, found.words, len(found.long), len(found.openings)) for name, found in _counted(texts)]
    print(f"| page | words | sentences above {LONG} words | first lines with What, How, Which, Where |")
    print("| --- | ---: | ---: | ---: |")
    for row in [*rows, ("all", *(sum(column) for column in zip(*(row[1:] for row in rows), strict=True)))]:
        print("| " + " | ".join(map(str, row)) + " |")
    return 0


def _counted(texts: dict[str, str]) -> list[tuple[str, Counts]]:
    return sorted(((name, counts(text)) for name, text in texts.items()), key=lambda entry: -entry[1].words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
