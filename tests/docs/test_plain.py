"""The documentation as plain Markdown: complete, read by a CommonMark parser, with links that hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sitegen import outside
from sitegen.__main__ import main
from sitegen.formulas import BRACKETS, DOLLARS, PIECE, rewritten
from support.markdown_links import broken, links

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the command writes."""
    folder = tmp_path_factory.mktemp("plain") / "new"
    assert main([str(folder)]) == 0
    return folder


def test_every_page_is_there(out: Path) -> None:
    written = {path.relative_to(out).as_posix() for path in out.rglob("*.md")}
    own = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert own < written
    assert {path.split("/")[0] for path in written - own} == {"repository"}
    assert not {path.suffix for path in out.rglob("*") if path.is_file()} - {".md", ".png", ".svg"}


def test_every_link_and_picture_leads_somewhere(out: Path) -> None:
    files = sorted(out.rglob("*.md"))
    assert [said for file in files for said in broken(file, out)] == []
    assert sum(len(links(file.read_text("utf-8"))) for file in files) > 200


def test_nothing_is_left_that_only_code_hosts_read(out: Path) -> None:
    for page in out.rglob("*.md"):
        pieces = PIECE.finditer(page.read_text("utf-8"))
        assert not any(piece["inline"] or piece["kind"] == "math" for piece in pieces), page.name


def test_formulas_are_rewritten_and_code_is_not() -> None:
    page = "As $`x^2`$, or\n\n```math\ny\n```\n\n`$x$`\n\n```python\n'$`z`$'\n```\n"
    assert rewritten(page, DOLLARS) == "As $x^2$, or\n\n$$y$$\n\n`$x$`\n\n```python\n'$`z`$'\n```\n"
    assert rewritten(page, BRACKETS).startswith("As \\(x^2\\), or\n\n\\[y\\]\n")


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.stem)
def test_pages_are_written_for_code_hosts(page: Path) -> None:
    """No front matter, attribute or block that only mkdocs reads, no macro that GitHub forbids."""
    prose = PIECE.sub(
        lambda piece: piece["inline"] or (piece["block"] if piece["kind"] == "math" else "") or "",
        page.read_text("utf-8"),
    )
    assert not prose.startswith("---")
    assert not re.search(r"\{ ?[:#]|^(!!!|\?\?\?|:::|=== \")|<div|</div|\\[()\[\]]|\\operatorname", prose, re.MULTILINE)


# ---------------------------------------------------------------- links out of docs/


def test_a_file_outside_has_a_place_in_the_site() -> None:
    assert outside.place(ROOT / "docs/howto/gpu.md") == "howto/gpu.md"
    forest = "studies/results/race-first/forest.png"
    assert outside.place(ROOT / forest) == f"repository/{forest}"
    assert outside.place(ROOT / "studies/README.md") == "repository/studies/README.md"
    assert outside.place(ROOT / "studies/race.toml") == "repository/studies/race.toml.md"
    assert outside.place(ROOT / "docs/hook.py") == "repository/docs/hook.py.md"


def test_links_follow_what_they_lead_to() -> None:
    text = "[a](../../studies/race.toml) ![b](../../studies/x.png) [c](paper.md#limits) `[d](../../x.md)` [e](https://x.org)"
    said = outside.moved(text, ROOT / "docs/results/race.md")
    assert said == (
        "[a](../repository/studies/race.toml.md) ![b](../repository/studies/x.png) [c](paper.md#limits) "
        "`[d](../../x.md)` [e](https://x.org)"
    )
    said = outside.moved("[a](../docs/results/race.md#limits) [b](race.toml)", ROOT / "studies/README.md")
    assert said == "[a](../../results/race.md#limits) [b](race.toml.md)"


def test_pages_outside_are_there_with_what_they_link_to_in_turn() -> None:
    pages, pictures = outside.pages(), outside.pictures()
    assert "repository/CONTRIBUTING.md" not in pages or "](docs/" not in pages["repository/CONTRIBUTING.md"]
    assert pages["repository/studies/race-first.toml.md"].startswith("# studies/race-first.toml\n\n````toml\n# Could a")
    assert "repository/studies/results/race-first/memory.png" in pictures  # the report of `race-first` shows it


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("")
    assert main([str(tmp_path)]) == 2
    assert "must be new or empty" in capsys.readouterr().err
    assert main(["--help"]) == 2
    assert "python -m docs.sitegen [OUT]" in capsys.readouterr().err
