"""Links and pictures of Markdown files, followed as a code host follows them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

MARKDOWN = MarkdownIt("commonmark").enable("table")
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
WRITTEN_AS_HTML = re.compile(r"<(?:a|img)\b[^>]*?(?:href|src)=[\"']([^\"']+)")
HTML_ANCHOR = re.compile(r"<\w+\b[^>]*?\b(?:id|name)=[\"']([^\"']+)")


def links(text: str) -> list[str]:
    """The addresses that a file links to or shows, in Markdown and in HTML."""
    found = []
    for token in _tokens(text):
        address = token.attrGet("href") or token.attrGet("src")
        if isinstance(address, str):
            found.append(address)
        elif token.type in ("html_inline", "html_block"):
            found += WRITTEN_AS_HTML.findall(token.content)
    return found


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of headings, a number after those that repeat, and those written as HTML."""
    tokens, found = list(_tokens(text)), set[str]()
    for head, title in zip(tokens, tokens[1:], strict=False):
        if head.type == "heading_open":
            slug = re.sub(r"[^\w\- ]", "", _words(title).lower()).strip().replace(" ", "-")
            number = next(n for n in range(99) if (f"{slug}-{n}" if n else slug) not in found)
            found.add(f"{slug}-{number}" if number else slug)
        elif head.type in ("html_inline", "html_block"):
            found.update(HTML_ANCHOR.findall(head.content))
    return found


def broken(file: Path, root: Path, known: frozenset[Path] | None = None) -> list[str]:
    """A sentence for every link that leads nowhere: out of the root, to no file, or to no anchor of a page.

    With `known`, only these files count as there.
    """
    said = []
    for address in links(file.read_text("utf-8")):
        if ELSEWHERE.match(address):
            continue
        path, _, anchor = unquote(address).partition("#")
        target = Path(os.path.normpath(file.parent / path)) if path else file
        where = f"{file.relative_to(root)}: {address}"
        if not target.is_relative_to(root) or not _is_there(target, known):
            said.append(f"{where} is not there")
        elif anchor and target.suffix == ".md" and anchor not in _anchors_of(target):
            said.append(f"{where} has no such anchor")
    return said


def _is_there(target: Path, known: frozenset[Path] | None) -> bool:
    if known is None or not target.exists():
        return target.exists()
    return target in known or any(file.is_relative_to(target) for file in known)


@cache
def _anchors_of(file: Path) -> set[str]:
    return anchors(file.read_text("utf-8"))


def _tokens(text: str) -> Iterator[Token]:
    for token in MARKDOWN.parse(text):
        yield from [token, *(token.children or [])]


def _words(title: Token) -> str:
    shown = ("text", "code_inline")
    return "".join(child.content for child in title.children or [] if child.type in shown)
