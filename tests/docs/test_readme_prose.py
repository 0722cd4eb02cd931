"""The README is short, in short sentences, with a picture, and quotes published ratios only."""

from __future__ import annotations

from pathlib import Path

from sitegen import prose
from support.markdown_links import links
from support.published_ratios import EVERY, published, quoted

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
SHOWN = {
    "0.71x",
    "0.71x (0.63-0.81)",
    "1.07x",
}  # by the quickstart and the study in the README, whose runs are not published


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 130
    assert prose.counts(README).words <= 1000


def test_it_has_no_long_sentence() -> None:
    assert prose.counts(README).long == []


def test_it_has_a_picture() -> None:
    assert any(address.endswith(".png") for address in links(README))


def test_its_ratios_are_those_of_published_studies() -> None:
    known = SHOWN.union(*map(published, EVERY))
    assert [ratio for ratio in quoted(README) if ratio not in known] == []
