"""Listings of figures: what they remove, and what they never touch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from support.misplaced_files import MISPLACED, PRIVATE, PRIVATE_FILE, soon

from hfbench.errors import StoreError
from hfbench.records.sealed import write_sealed_json
from hfbench.report.figure_files import figure_bytes, kept_listing, list_figures


@pytest.fixture
def listing(tmp_path: Path) -> Path:
    """A listing of three figures."""
    folder = tmp_path / "report"
    folder.mkdir()
    for name in "abc":
        (folder / name).write_text(name)
    list_figures(folder / "figures.json", "abc", drawn_from="records")
    return folder / "figures.json"


def there(listing: Path) -> str:
    return "".join(sorted(file.name for file in listing.parent.iterdir() if file != listing))


def test_what_is_listed_no_more_is_removed(listing: Path) -> None:
    (listing.parent / "own").touch()
    list_figures(listing, "ab")
    assert there(listing) == "abown"
    list_figures(listing, "")
    assert there(listing) == "own"


def test_a_file_that_somebody_changed_stays(listing: Path) -> None:
    (listing.parent / "b").write_text("drawn over")
    assert kept_listing(listing) == {}
    list_figures(listing, "a")
    assert there(listing) == "ab"


def test_nothing_outside_of_the_folder_is_removed(listing: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    files = json.loads(listing.read_text())["files"]
    paths = ["../a", str(tmp_path / "a"), "x" * 5000, "\0"]
    listing.write_text(json.dumps({"files": dict.fromkeys(paths, files["a"])}))  # as earlier versions, without a seal
    list_figures(listing, "abc")
    assert (tmp_path / "a").exists()
    assert there(listing) == "abc"


@pytest.mark.parametrize("held", ["{", "[]", "{}", '{"files": 3}'])
def test_a_damaged_listing_removes_nothing(listing: Path, held: str) -> None:
    listing.write_text(held)
    assert kept_listing(listing) == {}
    list_figures(listing, "a", drawn_from="others")
    assert there(listing) == "abc"
    assert kept_listing(listing)["drawn_from"] == "others"


@pytest.mark.parametrize("kind", sorted(MISPLACED))
def test_a_figure_that_may_not_be_read_is_none(listing: Path, kind: str) -> None:
    (listing.parent / "b").unlink()
    MISPLACED[kind](listing.parent / "b")
    assert soon(lambda: kept_listing(listing)) == {}
    with pytest.raises(StoreError, match="b must be a readable file, but"):
        soon(lambda: figure_bytes(listing.parent / "b"))


def test_a_listing_names_no_file_elsewhere(listing: Path) -> None:
    (listing.parent.parent / PRIVATE_FILE).write_bytes(PRIVATE)
    for name in (f"../{PRIVATE_FILE}", str(listing.parent.parent / PRIVATE_FILE)):
        write_sealed_json(listing, {"files": {name: hashlib.sha256(PRIVATE).hexdigest()}})
        assert kept_listing(listing) == {}
        list_figures(listing, "a")
    assert (listing.parent.parent / PRIVATE_FILE).read_bytes() == PRIVATE
