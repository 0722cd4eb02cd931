"""The fenced blocks of a page, and what the comment before a block says of it.

<!-- not run: why -->                  the block is left alone; the reason must be given
<!-- adds to the study above -->       tables of a study file that go on from the last whole one of the page
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

NOTE = r"(?:<!-- (?P<note>[^\n]*?) -->\n+)?"
FENCE = re.compile(rf"^{NOTE}```(?P<kind>\w*)(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r'title="([\w.-]+)"')
DOCS = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True)
class Block:
    kind: str  # python, toml, sh, text, … or nothing
    text: str
    note: str
    title: str  # of the file it is, if it is one
    expected: str | None  # the plain block right below it: what it prints

    @property
    def is_left_alone(self) -> bool:
        if not self.note.startswith("not run"):
            return False
        assert re.fullmatch(r"not run: \w.{9,}", self.note), f"a block that is not run must say why: {self.note!r}"
        return True


def blocks(page: str) -> list[Block]:
    found = list(FENCE.finditer(page))
    return [_block(one, after, page) for one, after in zip_longest(found, found[1:])]


def _block(one: re.Match[str], after: re.Match[str] | None, page: str) -> Block:
    prints = after is not None and after["kind"] == "" and not page[one.end() : after.start()].strip()
    title = TITLE.search(one["info"])
    expected = after["text"] if after is not None and prints else None
    return Block(one["kind"], one["text"], one["note"] or "", title[1] if title else "", expected)


def pages() -> dict[str, str]:
    """The pages written by hand, by their path below docs/."""
    texts = {str(path.relative_to(DOCS)): path.read_text("utf-8") for path in sorted(DOCS.rglob("*.md"))}
    return {path: text for path, text in texts.items() if not text.startswith("<!-- Made by")}


def matches(expected: str, printed: str) -> bool:
    """Whether this was printed; `…` alone on a line stands for any lines, at the end of one for any rest."""
    lines = [line.rstrip() for line in expected.rstrip().splitlines()]
    wanted = [r"(?:.*\n)*?" if line == "…" else _line(line) + r" *\n" for line in lines]
    return re.fullmatch("".join(wanted), printed.rstrip() + "\n") is not None


def _line(line: str) -> str:
    return re.escape(line[:-1]) + ".*" if line.endswith("…") else re.escape(line)
