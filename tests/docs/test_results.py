"""The results pages: each has its parts, and every number is that of the committed comparisons."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sitegen import result_tables
from support.published_ratios import EVERY, STUDIES, published, quoted

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs/results"


@pytest.mark.parametrize("page", STUDIES)
def test_ratios_are_those_of_the_comparisons(page: str) -> None:
    known = {shown for study in STUDIES[page] for shown in published(study)}
    assert [ratio for ratio in quoted((RESULTS / f"{page}.md").read_text("utf-8")) if ratio not in known] == []


def test_ratios_of_the_overview_are_those_of_some_study() -> None:
    known = {shown for study in EVERY for shown in published(study)}
    assert [ratio for ratio in quoted((RESULTS / "index.md").read_text("utf-8")) if ratio not in known] == []


def test_ratios_are_found_in_prose() -> None:
    assert quoted("At **0.34x** (0.30-0.40), `9.9x`, ≤0.97x and 0.74-0.75x (≤0.84), 8x8 or 5 x.") == [
        "0.34x (0.30-0.40)",
        "≤0.97x",
        "0.74-0.75x (≤0.84)",
    ]
    assert {"0.74-0.75x (≤0.84)", "0.74-0.75x", "≤0.97x"} <= published("paper")


@pytest.mark.parametrize("page", STUDIES)
def test_a_page_has_question_answer_table_figure_limits_and_command(page: str) -> None:
    text = (RESULTS / f"{page}.md").read_text("utf-8")
    title, answer = text.split("\n\n")[:2]
    assert title.startswith("# ")
    assert title.endswith("?")
    assert re.fullmatch(r"\*\*Answer\.\*\* [^\n]+\.", answer)
    assert "\n| --- |" in text
    assert re.search(r"!\[[^\]]+\]\(\.\./\.\./studies/results/[\w/-]+\.png\)", text)
    limits, command = text.split("\n## Limits\n")[1].split("\n## Reproduce it\n")
    assert limits.startswith("- ")
    assert re.match(r"```sh\nhfbench ", command)


def test_every_page_is_in_the_overview() -> None:
    overview = (RESULTS / "index.md").read_text("utf-8")
    assert {path.stem for path in RESULTS.glob("*.md")} == {*STUDIES, "index"}
    assert all(f"]({page}.md)" in overview for page in STUDIES)


# ---------------------------------------------------------------- the tables


@pytest.mark.parametrize("name", result_tables.tables())
def test_every_table_is_on_a_page(name: str) -> None:
    shown = result_tables.tables()[name]
    assert any(f"<!-- table: {name} -->\n\n{shown}\n<!-- end -->" in text for text in result_tables.filled().values())


def test_a_row_says_what_is_known() -> None:
    row = {"ratio_low": 0.338, "ratio_high": 0.338, "ci_low": 0.3, "ci_high": 0.4, "verdict": "clearly better"}
    assert result_tables.compared(row) == "**0.34x** (0.30-0.40) better"
    assert result_tables.compared(row | {"verdict": "inconclusive (n too small)"}) == "0.34x (0.30-0.40)"
    assert result_tables.compared(row | {"ratio_high": None, "ci_low": 0.0, "ci_high": None}) == "**≥0.34x** better"
    assert result_tables.shown(row | {"ratio_low": 0.0, "ratio_high": None, "ci_low": 0.0, "ci_high": None}) == "–"
