"""Files that are written whole or not at all, numbers that JSON holds, and names that may become folders."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.misplaced_files import MISPLACED, PRIVATE, PRIVATE_FILE, soon

from hfbench.errors import ConfigError, StoreError
from hfbench.records.files import (
    copy_files,
    finite,
    make_folder,
    prepare,
    read_json,
    safe_name,
    write_atomically,
    write_json,
)
from hfbench.records.run_folder import RunFolder


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"old": 1})

    def half(path: Path) -> None:
        path.write_text('{"new"')
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreError, match="No space left"):
        write_atomically(file, half)
    assert os.listdir(tmp_path) == ["a.json"]
    assert read_json(file) == {"old": 1}


KILLED = """
import os, signal, sys
from pathlib import Path
from hfbench.records.files import write_atomically

def half(path):
    path.write_text('{"new"')
    os.kill(os.getpid(), signal.SIGKILL)

write_atomically(Path(sys.argv[1]), half)
"""


def test_what_a_killed_process_was_writing_goes_with_the_next_file_in_the_folder(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "checkpoint.pt")], check=False)
    assert len(os.listdir(tmp_path)) == 1
    write_json(tmp_path / "result.json", {})
    assert os.listdir(tmp_path) == ["result.json"]


def test_what_others_are_writing_stays(tmp_path: Path) -> None:
    elsewhere = tmp_path / f".b.json.another.{2**22 + 1}.1.hfbench"
    elsewhere.touch()

    def slowly(path: Path) -> None:
        path.write_text("{}")
        write_json(tmp_path / "b.json", {})

    write_atomically(tmp_path / "a.json", slowly)
    assert sorted(os.listdir(tmp_path)) == [elsewhere.name, "a.json", "b.json"]


def test_numbers_json_cannot_hold_become_null(tmp_path: Path) -> None:
    assert finite({"a": [math.inf, 1.0], "b": (math.nan,)}) == {"a": [None, 1.0], "b": [None]}
    write_json(tmp_path / "a.json", {"rho": -math.inf})
    assert json.loads((tmp_path / "a.json").read_text()) == {"rho": None}


def test_a_results_folder_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(StoreError, match="must be writable"):
        prepare(file / "results")


@pytest.mark.parametrize("name", ["../up", "/etc", "a/b", "", ".hidden", "a\\b", "x" * 101])
def test_names_never_become_paths_unchecked(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a name that becomes a folder"):
        safe_name(name)
    with pytest.raises(ConfigError):
        RunFolder(tmp_path, name)


@pytest.mark.parametrize("kind", sorted(MISPLACED))
def test_what_is_no_regular_file_of_its_folder_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    folder, copies = tmp_path / "results", tmp_path / "copies"
    folder.mkdir()
    copies.mkdir()
    MISPLACED[kind](folder / "a.json")
    reason = "51200.0 MiB, more than the" if kind == "sparse" else "link out of" if kind != "pipe" else "it is a pipe"
    for read in (lambda: read_json(folder / "a.json"), lambda: copy_files([folder / "a.json"], copies)):
        with pytest.raises(StoreError, match=rf"a\.json must be a readable file, but: .*{reason}"):
            soon(read)
    assert not list(copies.iterdir())


def test_a_copy_replaces_a_link_and_never_writes_through_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("new")
    folder = tmp_path / "results"
    folder.mkdir()
    MISPLACED["link out"](folder / "a")
    copy_files([tmp_path / "a"], folder)
    assert (folder / "a").read_text() == "new"
    assert (tmp_path / PRIVATE_FILE).read_bytes() == PRIVATE


def test_a_folder_in_the_results_is_no_link_out_of_them(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "results").symlink_to("disk", target_is_directory=True)  # the whole of it may be elsewhere
    prepare(tmp_path / "results")
    (tmp_path / "disk" / "studies").symlink_to(tmp_path / "other", target_is_directory=True)
    with pytest.raises(StoreError, match="studies/tiny must lie in the results folder, but is a link out of it"):
        make_folder(tmp_path / "results" / "studies" / "tiny", tmp_path / "results")
    assert not (tmp_path / "other").exists()
