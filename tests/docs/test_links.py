"""Links, pictures and anchors of every Markdown file lead somewhere in the plain checkout, as a code host shows it."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import pytest
from sitegen.markdown import slug
from support.markdown_links import anchors, broken, links

ROOT = Path(__file__).parents[2]
PATTERNS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**/*.md", "studies/**/*.md", "benchmarks/*.md")
FILES = sorted({file for pattern in PATTERNS for file in ROOT.glob(pattern)})


@cache
def committed() -> frozenset[Path] | None:
    """The files that a checkout has, or could be told to have; None where there is no git to ask."""
    if not (ROOT / ".git").exists():
        return None
    asked = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    said = subprocess.run(asked, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return frozenset(ROOT / line for line in said.splitlines())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(file: Path) -> None:
    assert broken(file, ROOT, committed()) == []


def test_the_pages_that_lead_into_the_documentation_are_among_them() -> None:
    names = {file.relative_to(ROOT).as_posix() for file in FILES}
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/index.md", "studies/README.md"} <= names
    assert sum(len(links(file.read_text("utf-8"))) for file in FILES) > 400


def test_the_first_page_has_the_picture_and_the_uses() -> None:
    shown = links((ROOT / "docs/index.md").read_text("utf-8"))
    assert "../studies/results/architectures/forest.png" in shown
    uses = {"tutorials/first-study.md", "tutorials/add-a-solver.md", "howto/mlflow.md", "tutorials/own-loop.md"}
    assert uses <= set(shown)


@pytest.mark.parametrize("tutorial", sorted((ROOT / "docs/tutorials").glob("*.md")), ids=lambda file: file.stem)
def test_a_tutorial_ends_in_something_to_look_at(tutorial: Path) -> None:
    last = tutorial.read_text("utf-8").split("\n## ")[-2:]
    assert any(".png)" in section for section in last)


# ---------------------------------------------------------------- the test itself


def test_what_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    (tmp_path / "a.png").write_bytes(b"")
    page.write_text(
        "# A `b`: c\n![gone](gone.png) ![there](a.png) [x](page.md#a-b-c) [y](#none) [z](../out.md)\n"
        '<img src="lost.png"> [w](https://x.org) `[v](code.md)`\n'
    )
    assert broken(page, tmp_path) == [
        "page.md: gone.png is not there",
        "page.md: #none has no such anchor",
        "page.md: ../out.md is not there",
        "page.md: lost.png is not there",
    ]
    assert "page.md: a.png is not there" in broken(page, tmp_path, frozenset([page]))


@pytest.mark.parametrize(
    ("title", "anchor"),
    [
        ("What is known of a run", "what-is-known-of-a-run"),
        ("`[study.budget]`", "studybudget"),
        ("Seeds, passes – and *more*?", "seeds-passes--and-more"),
        ("`chapelle-erhan`", "chapelle-erhan"),
    ],
)
def test_anchors_are_those_of_github(title: str, anchor: str) -> None:
    assert anchors(f"## {title}\n\n## {title}\n") == {anchor, f"{anchor}-1"}
    assert slug(title.replace("`", "").replace("*", "")) == anchor


def test_anchors_may_be_written_as_html() -> None:
    assert anchors('<a id="x"></a>\n\n| a |\n|---|\n| <span id="y.z"></span>b |\n') == {"x", "y.z"}
