"""Reports as HTML: whatever a text holds, it is text, and the page fetches nothing."""

from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hfbench.messages import printable
from hfbench.report import html
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
)

VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """The elements, attributes and text of a page; fails where tags do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


@given(st.text())
def test_html_gives_any_text_back(text: str) -> None:
    found = read(html.html_page(Document("title", [Paragraph(text)])))
    shown = printable(text)
    assert shown in "".join(found.text)
    assert found.tags.count("p") == 1


def test_pictures_are_inside_the_page(tmp_path: Path) -> None:
    """A small SVG as it is; one that takes long to draw as the PNG beside it."""
    png, svg = tmp_path / "a.png", tmp_path / "a.svg"
    png.write_bytes(b"PNG")
    for content, kind, embedded in (
        (b"<svg/>", "svg+xml", b"<svg/>"),
        (b" " * (html.LARGEST_SVG + 1), "png", b"PNG"),
    ):
        svg.write_bytes(content)
        found = read(html.html_page(Document("x", [ImageBlock(png, svg, "caption", 'the "alt"')])))
        attributes = dict(found.attributes)
        assert attributes["src"] == f"data:image/{kind};base64,{base64.b64encode(embedded).decode()}"
        assert attributes["alt"] == 'the "alt"'


def test_sections_are_linked_before_the_first() -> None:
    blocks = [Paragraph("lead"), Heading("One"), Heading("below", 3), Heading("Two")]
    found = read(html.html_page(Document("x", blocks)))
    links = [value for name, value in found.attributes if name == "href"]
    targets = [value for name, value in found.attributes if name == "id"]
    assert links == ["#s1", "#s2"]
    assert targets == ["s1", "s2"]
    assert found.tags.index("nav") < found.tags.index("h2")


def test_the_page_may_run_and_fetch_nothing() -> None:
    attributes = read(html.html_page(Document("x", []))).attributes
    policy = next(value for _, value in attributes if value and "src" in value)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert "url(" not in html.STYLE
    assert "@import" not in html.STYLE


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


def test_whatever_a_text_holds_it_is_text_in_html() -> None:
    harmless = read(html.html_page(Document("plain", every_block("plain"))))
    page = html.html_page(Document(EVIL, every_block(EVIL)))
    found = read(page)
    assert found.tags == harmless.tags
    assert found.attributes == harmless.attributes
    assert "".join(found.text).count(EVIL) == "".join(harmless.text).count("plain")
