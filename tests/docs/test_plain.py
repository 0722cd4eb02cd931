"""The documentation as plain Markdown: complete, read by a CommonMark parser, with links that hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from sitegen import benchmark_page, gallery, microscope_figures, plain
from sitegen import pages as site
from sitegen.__main__ import main
from support.blocks import pages

MARKDOWN = MarkdownIt("commonmark").enable("table")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes, with one picture in place of all that would be drawn."""
    drawn = next(iter(microscope_figures.drawn().values()))
    names = [f"figures/{name}.png" for name in gallery.FIGURES]
    names += [f"figures/benchmark-{name}.png" for name in benchmark_page.FIGURES]
    folder = tmp_path_factory.mktemp("plain") / "new"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site, "figures", lambda: dict.fromkeys(names, drawn) | microscope_figures.drawn())
        assert main([str(folder)]) == 0
    return folder


def tokens(text: str) -> Iterator[Token]:
    for token in MARKDOWN.parse(text):
        yield from [token, *(token.children or [])]


def anchors(text: str) -> set[str]:
    """Those written as HTML, and those that site builders make of headings."""
    found = set(re.findall(r'<(?:a|span) id="([^"]+)">', text))
    parsed = list(tokens(text))
    for head, title in zip(parsed, parsed[1:], strict=False):
        if head.type == "heading_open":
            words = re.sub(r"[^\w\s-]", "", re.sub(r"<[^>]+>", "", title.content).lower())
            found.add(re.sub(r"\s", "-", words.strip()))
    return found


def addresses(text: str) -> Iterator[str]:
    for token in tokens(text):
        address = token.attrGet("href") or token.attrGet("src")
        if isinstance(address, str):
            yield address


def test_every_page_is_there(out: Path) -> None:
    written = {path.relative_to(out).as_posix() for path in out.rglob("*.md")}
    assert written == pages().keys() | site.generated().keys()
    assert not {path.suffix for path in out.rglob("*") if path.is_file()} - {".md", ".png", ".svg"}


def test_every_link_and_picture_leads_somewhere(out: Path) -> None:
    texts = {path: path.read_text("utf-8") for path in out.rglob("*.md")}
    followed = 0
    for page, text in texts.items():
        for address in addresses(text):
            if re.match(r"https?:|mailto:", address):
                continue
            file, _, anchor = address.partition("#")
            target = (page.parent / file).resolve() if file else page
            assert target.is_file(), f"{page.relative_to(out)}: {address}"
            assert not anchor or anchor in anchors(texts[target]), f"{page.relative_to(out)}: {address}"
            followed += 1
    assert followed > 200


def test_nothing_is_left_that_only_mkdocs_reads(out: Path) -> None:
    for page in out.rglob("*.md"):
        text = page.read_text("utf-8")
        assert not re.search(r"^(!!!|\?\?\?|:::|=== \")|^#.*\{ *#", text, re.MULTILINE), page.name
        assert not re.search(r"\\[()\[\]]", plain.CODE.sub("", text)), page.name


def test_tex_and_anchors_are_rewritten_and_code_is_not() -> None:
    page = "## A b { #a }\n\nAs \\(x^2\\), or\n\\[ y \\]\n`\\(z\\)`\n\n```python\n'\\(z\\)'\n```\n"
    assert plain.plain(page) == (
        "<a id=\"a\"></a>\n\n## A b\n\nAs $x^2$, or\n$$y$$\n`\\(z\\)`\n\n```python\n'\\(z\\)'\n```\n"
    )


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("")
    assert main([str(tmp_path)]) == 2
    assert "must be new or empty" in capsys.readouterr().err
    assert main([]) == 2
    assert "python -m docs.sitegen OUT" in capsys.readouterr().err
