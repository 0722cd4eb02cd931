"""Documents as Markdown: whatever a text holds, it is text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfbench.messages import printable
from hfbench.report.document import (
    Block,
    Bullets,
    Code,
    Document,
    Heading,
    ImageBlock,
    Mono,
    Paragraph,
    Strong,
    Table,
    document_markdown,
    literal,
)

EVIL = "<script>alert(1)</script> & \"quoted\" <img src='http://x.example/' onerror=alert(2)> | *bold* `code` [a](b)"


def every_block(text: str) -> list[Block]:
    """Blocks of each kind that show text from outside, in each of its places."""
    return [
        Heading(text),
        Heading(text, 3),
        Paragraph(text, "lead"),
        Paragraph((text, Strong(text, "good"), Mono(text)), "warning"),
        Bullets([text, (Strong(text), text)], "note"),
        Table((text, text), [[text, Strong(text, "bad")], [Mono(text), text]], text, words=1),
        Table((text,), [[text]], text, folded=True),
        Code(text),
    ]


@given(st.text())
def test_no_text_can_hide_or_reorder_anything(text: str) -> None:
    shown = printable(text)
    shown.encode("utf-8")
    assert len(shown) == len(text.replace("\r\n", "\n"))
    assert not re.search("[\x00\x1b\u202e\ud800-\udfff]", shown)


def test_whatever_a_text_holds_it_is_text_in_markdown() -> None:
    written = document_markdown(Document(EVIL, every_block(EVIL)[:-1]))
    assert "<script" not in written
    assert "<img" not in written
    assert not re.search(r"(?<!\\)[`\[\]]|(?<!\\)\*bold", written)
    cells = [line for line in written.splitlines() if line.startswith("| ")]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in cells] == [3, 3, 3, 3, 2, 2, 2]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("- no list", r"\- no list"),
        ("1. no list", r"1\. no list"),
        ("two\nlines", "two lines"),
        ("a_b", r"a\_b"),
        ("3 < 4", "3 &lt; 4"),
        ("-1", "-1"),
    ],
)
def test_lines_begin_no_lists_in_markdown(text: str, written: str) -> None:
    assert literal(text) == written


def test_markdown_of_every_block(tmp_path: Path) -> None:
    picture = ImageBlock(tmp_path / "forest.png", tmp_path / "forest.svg", "Ratios.", "Figure forest")
    table = Table(("method", "ratio", "verdict"), [["hf", "1.00", Strong("better", "good")]], "Ratios", words=1)
    blocks = [Heading("Answer"), Paragraph(("Run ", Mono("x")), "warning"), Bullets(["one", "two"]), table, picture]
    assert document_markdown(Document("study", [*blocks, Code("echo '```'")])) == (
        "# study\n\n## Answer\n\n**Note.** Run <code>x</code>\n\n- one\n- two\n\n"
        "Ratios\n\n| method | ratio | verdict |\n| :--- | ---: | :--- |\n| hf | 1.00 | **better** |\n\n"
        "![Figure forest](forest.png)\n\nRatios.\n\n````sh\necho '```'\n````\n"
    )
