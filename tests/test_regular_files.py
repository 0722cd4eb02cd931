"""Regular files of a bounded size: pipes, devices, links and sparse files are refused at once, with the reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hfbench.regular_files import MB, is_inside, read_regular_file


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 3 * MB)
    assert read_regular_file(file, 3 * MB) == b"x" * 3 * MB
    with pytest.raises(OSError, match=r"it has 3.0 MiB, more than the 2 MiB allowed"):
        read_regular_file(file, 2 * MB)


def test_a_sparse_file_of_50_gb_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "sparse"
    with file.open("wb") as opened:
        os.truncate(opened.fileno(), 50 * 1024 * MB)
    with pytest.raises(OSError, match="it has 51200.0 MiB, more than the 64 MiB allowed"):
        read_regular_file(file, 64 * MB)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_has_no_end_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = Path("/dev/zero") if kind == "device" else tmp_path / "pipe"
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(OSError, match="it is a pipe, a socket or a device, not a regular file"):
        read_regular_file(path, MB)


def test_a_folder_and_a_missing_file_keep_their_own_errors(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_regular_file(tmp_path, MB)
    with pytest.raises(FileNotFoundError):
        read_regular_file(tmp_path / "missing", MB)


def test_a_link_out_of_the_folder_is_refused_and_one_within_is_read(tmp_path: Path) -> None:
    folder, private = tmp_path / "folder", tmp_path / "private"
    folder.mkdir()
    private.write_text("secret")
    (folder / "file").write_text("open")
    (folder / "within").symlink_to("file")
    (folder / "out").symlink_to(private)
    (folder / "up").symlink_to(tmp_path, target_is_directory=True)
    assert read_regular_file(folder / "within", MB, inside=folder) == b"open"
    for path in (folder / "out", folder / "up" / "private", folder / ".." / "private"):
        with pytest.raises(OSError, match="it is a link out of"):
            read_regular_file(path, MB, inside=folder)


def test_the_folder_itself_may_be_reached_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("open")
    (tmp_path / "link").symlink_to("folder", target_is_directory=True)
    assert read_regular_file(tmp_path / "link" / "file", MB, inside=tmp_path / "link") == b"open"
    assert is_inside(tmp_path / "link" / "new", tmp_path / "folder")
