"""`hfbench data`: the folders and files it names, what it checks, and what it says of all that is missing."""

import gzip
import hashlib
from pathlib import Path
from typing import Any, ClassVar

import pytest
from support.shelf import CONTENT, Furniture

from hfbench import registry
from hfbench.parts.data_files import DataFile
from hfbench.parts.hyperparameters import part

pytestmark = pytest.mark.usefixtures("shelf")


@part
class Atlas(Furniture):
    """Reads two files."""

    files: ClassVar[tuple[DataFile, ...]] = tuple(
        DataFile(f"atlas/{name}.gz", "0" * 64, (f"https://127.0.0.1/{name}.gz",)) for name in ("north", "south")
    )


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A data folder that holds the file."""
    folder = tmp_path / "library"
    (folder / "shelf").mkdir(parents=True)
    (folder / "shelf" / "digits.gz").write_bytes(gzip.compress(CONTENT))
    return folder


def test_data_where_names_the_folders_in_order_and_the_files(
    hf: Any, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HFBENCH_DATA", str(tmp_path / "gone"))
    status, out, err = hf("data", "where", "shelf", "--data", str(library))
    assert (status, out.splitlines()) == (
        0,
        [
            "Folders, in search order:",
            f"  {library} (--data)",
            f"  {tmp_path / 'gone'} (HFBENCH_DATA): does not exist",
            f"  {tmp_path / 'cache'} (user cache)",
            "Files:",
            f"  shelf/digits.gz: {library / 'shelf' / 'digits.gz'}",
            "  shelf/extra.gz: not there (optional)",
        ],
    )
    assert (
        err == f"hfbench: the environment variable HFBENCH_DATA names {tmp_path / 'gone'}, which is not a folder: "
        "no data are found there.\n"
    )


def test_data_where_names_the_variable_that_is_not_set(hf: Any, tmp_path: Path) -> None:
    assert hf("data", "where", "shelf")[1].splitlines()[:3] == [
        "Folders, in search order:",
        f"  {tmp_path / 'cache'} (user cache)",
        "HFBENCH_DATA is not set; it would be searched before the user cache.",
    ]


@pytest.mark.parametrize("command", ["fetch", "verify"])
def test_data_is_checked(hf: Any, library: Path, command: str) -> None:
    status, out, _ = hf("data", command, "shelf", "--data", str(library))
    assert status == 0
    path = library / "shelf" / "digits.gz"
    assert str(path) in out
    assert "shelf/extra.gz: optional, not there" in out
    path.write_bytes(gzip.compress(b"other digits"))
    status, _, err = hf("data", command, "shelf", "--data", str(library))
    assert status == 2
    assert err.startswith(f"hfbench: {path} is damaged or is another file.\n")
    assert hashlib.sha256(CONTENT).hexdigest() in err


def test_verify_says_of_all_missing_files_together_how_to_get_them(hf: Any, tmp_path: Path) -> None:
    with registry.temporary("task", "atlas", Atlas):
        status, out, err = hf("data", "verify", "atlas", "shelf")
    assert (status, out) == (2, "shelf/extra.gz: optional, not there\n")
    assert err.splitlines() == [
        "hfbench: 3 data files are in none of the data folders.",
        "Missing:",
        "  atlas/north.gz",
        "  atlas/south.gz",
        "  shelf/digits.gz",
        "Looked in:",
        f"  {tmp_path / 'cache'} (user cache)",
        "To supply them offline, put each file at <folder>/<its path above> and set HFBENCH_DATA=<folder>.",
        "To download: hfbench data fetch atlas",
    ]


def test_verify_begins_each_of_several_problems_with_the_name_of_the_program(hf: Any, library: Path) -> None:
    (library / "shelf" / "digits.gz").write_bytes(b"other digits")
    with registry.temporary("task", "atlas", Atlas):
        status, _, err = hf("data", "verify", "atlas", "shelf", "--data", str(library))
    assert status == 2
    assert [line.split()[1] for line in err.splitlines() if line.startswith("hfbench: ")] == [
        str(library / "shelf" / "digits.gz"),
        "2",
    ]


@pytest.mark.parametrize("command", ["fetch", "verify"])
def test_generated_data_need_no_files(hf: Any, command: str) -> None:
    said = f"curves-small: nothing to {command}, its data are generated\n"
    assert hf("data", command, "curves-small") == (0, said, "")
    status, out, _ = hf("data", "fetch", "curves")
    assert status == 0
    assert out.splitlines() == [
        "curves: nothing to fetch, its data are generated",
        "curves/digs3pts_1.mat: optional, not there",
    ]
