"""Addresses elsewhere that a browser would fetch with a page."""

from __future__ import annotations

from html.parser import HTMLParser

SOURCES = ("script", "img", "source", "iframe", "video", "audio", "embed")  # fetched by their `src`
NAMED = {"alternate", "author", "canonical", "help", "license", "next", "prev"}  # links of <head> that are only named


def fetched(page: str) -> list[str]:
    """The addresses, in the order of the page; what a reader may click on is none of them."""
    reader = _Reader()
    reader.feed(page)
    return reader.found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if tag in SOURCES:
            address = given.get("src", "")
        elif tag == "link" and not set(given.get("rel", "none").split()) <= NAMED:
            address = given.get("href", "")
        else:
            return
        if address.startswith(("http:", "https:", "//")):
            self.found.append(address)
