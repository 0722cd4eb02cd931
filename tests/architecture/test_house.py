"""The page about the layout of the code: its picture is of the imports as they are, its files exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sitegen import house_figure

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/explanation/architecture.md").read_text("utf-8")
# Paths that the page gives as they would be typed below hfbench/, `<name>` standing for any.
NAMED = sorted({path for path in re.findall(r"`([\w/]+/[\w.<>]*)`", PAGE) if "<" not in path})


def test_the_picture_is_of_the_imports_as_they_are() -> None:
    drawn = house_figure.FILE.read_text("utf-8")
    assert drawn == house_figure.svg(), "write it anew: cd docs && python -m sitegen.house_figure"


def test_every_folder_is_in_a_wing_and_on_the_page() -> None:
    folders = set(house_figure.folders())
    assert {name for _, names in house_figure.WINGS.values() for name in names} == {*folders, house_figure.PARTS_BOX}
    wings = PAGE.split("| wing |")[1].split("\n\n")[0]
    assert folders <= set(re.findall(r"`(\w+)`", wings))


@pytest.mark.parametrize("path", NAMED)
def test_every_path_is_there(path: str) -> None:
    assert (ROOT / "hfbench" / path).exists() or (ROOT / path).exists()


def test_arrows_that_others_imply_are_left_out() -> None:
    chain = {"a": {"b", "c"}, "b": {"c"}, "c": set[str]()}
    assert house_figure.reduced(chain) == {"a": {"b"}, "b": {"c"}, "c": set()}
    assert house_figure.layers(chain) == {"a": 2, "b": 1, "c": 0}


def test_no_errand_takes_more_than_three_files() -> None:
    errands = PAGE.split("## Where do I change …")[1].split("\n## ")[0]
    rows = [line.split("|")[2] for line in errands.splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= 12
    for row in rows:
        main = re.split(r", or in |; other tables|; `report/claim_text| \(or ", row)[0]  # without the alternatives
        files = re.findall(r"`[\w/<>]+\.(?:py|toml)`", main)
        assert 1 <= len(files) <= 3, row
