"""Counts of words, long sentences and openings of pages, and short sentences where they are promised."""

from __future__ import annotations

from pathlib import Path

import pytest
from sitegen import prose

ROOT = Path(__file__).parents[2]
RESULTS = sorted((ROOT / "docs/results").glob("*.md"))


def test_counts_are_of_what_a_reader_reads() -> None:
    page = "# How it is done\n\nTwo words. [Three words here](x.md), $`a + b`$!\n\n```sh\nnot counted\n```\n"
    page += "\n| A b | c |\n|---|---|\n| d | ![e f](g.png) |\n"
    found = prose.counts(page)
    assert found.words == 4 + 2 + 4 + 4
    assert found.openings == ["How it is done"]
    assert found.long == []


def test_long_sentences_are_found_and_questions_are_no_openings() -> None:
    sentence = " ".join(["word"] * 31)
    found = prose.counts(f"# What is it?\n\nWhich {sentence}. {sentence[:-5]}.\n")
    assert found.long == [f"Which {sentence}."]
    assert found.openings == [f"Which {sentence}."]


def test_a_table_has_a_row_for_every_page(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("One two.")
    assert prose.main([str(tmp_path / "a.md")]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [f"| {tmp_path / 'a.md'} | 2 | 0 | 0 |", "| all | 2 | 0 | 0 |"]
    assert {"README.md", "docs/index.md"} <= prose.pages().keys()
    assert "docs/reference/cli.md" not in prose.pages()


@pytest.mark.parametrize("page", RESULTS, ids=lambda page: page.stem)
def test_results_are_in_short_sentences(page: Path) -> None:
    found = prose.counts(page.read_text("utf-8"))
    assert found.long == []
    assert found.openings == []
