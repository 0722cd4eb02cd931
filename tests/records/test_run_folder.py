"""The folder of a run: its result is written last, and what is damaged in it counts as none."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.made_records import pictures, record, result_of, rows_of
from support.misplaced_files import MISPLACED, PRIVATE, PRIVATE_FILE, soon
from support.tiny_study import specs, tiny

from hfbench.config.run_spec import RunSpec
from hfbench.errors import StoreError
from hfbench.records.run_folder import LARGEST_FILES, Contents, RunFolder
from hfbench.records.validation import MANIFEST, manifest_of


@pytest.fixture
def run(tmp_path: Path) -> RunSpec:
    return specs(tiny(tmp_path))["hf", 0]


def finish(folder: RunFolder, run: RunSpec) -> None:
    folder.finish(rows_of(run), result_of(run, folder.key, rows_of(run), "tiny"), pictures())


def test_results_are_the_last_thing_written_and_leave_no_scratch(tmp_path: Path, run: RunSpec) -> None:
    folder = RunFolder(tmp_path, run.key())
    folder.create(run.config())
    assert folder.result() is None
    assert not folder.is_complete()
    folder.save_checkpoint({"x": torch.ones(2)})
    folder.report({"name": "n"})
    finish(folder, run)
    assert folder.is_complete()
    files = ["config.json", "examples.npz", "manifest.json", "result.json", "trace.parquet"]
    assert sorted(os.listdir(folder.path)) == files


@pytest.mark.parametrize("failed_before", [False, True])
def test_a_process_that_dies_at_any_write_leaves_a_run_that_goes_on(
    tmp_path: Path, run: RunSpec, monkeypatch: pytest.MonkeyPatch, failed_before: bool
) -> None:
    """Before the result is written the run has not ended, and its checkpoint is there; then its record is sound."""
    folder, states = RunFolder(tmp_path, run.key()), []
    folder.create(run.config())
    folder.save_checkpoint({"x": torch.ones(2)})
    identity = {"key": folder.key, "task": run.task, "method": "hf", "seed": 0, "study": "tiny", "threads": 1}
    if failed_before:
        folder.fail({**identity, "versions": {}, "outcome": "failed", "error": "boom"}, "details")
        folder.create(run.config())
        folder.reopen()

    def look() -> None:
        states.append((folder.result() is not None, folder.load_checkpoint() is not None, folder.fault()))

    with monkeypatch.context() as patch:
        at_every_change(patch, look)
        finish(folder, run)
    assert len(states) >= 10
    assert all(fault == "" and (ended or resumable) for ended, resumable, fault in states)
    assert [ended for ended, _, _ in states] == sorted(ended for ended, _, _ in states)
    assert states[-1] == (True, False, "")


def test_a_copy_that_dies_at_any_write_leaves_no_damaged_record(
    tmp_path: Path, run: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the copy is of an earlier version, without a manifest, and replaces a failed run that has one."""
    sound, folder = record(run, tmp_path / "elsewhere").contents(), RunFolder(tmp_path, run.key())
    earlier = Contents({name: held for name, held in sound.files.items() if name != "manifest.json"}, sound.ended)
    folder.create(run.config())
    identity = {"key": folder.key, "task": run.task, "method": "hf", "seed": 0, "study": "tiny", "threads": 1}
    folder.fail({**identity, "versions": {}, "outcome": "failed", "error": "boom"}, "details")
    faults: list[str] = []
    with monkeypatch.context() as patch:
        at_every_change(patch, lambda: faults.append(folder.fault()))
        folder.put(earlier)
    assert len(faults) >= 10
    assert {*faults} == {""}
    assert folder.contents() == earlier


def at_every_change(patch: pytest.MonkeyPatch, look: Callable[[], object]) -> None:
    """Looks whenever a file is moved or removed, as who comes after a process that has died there."""
    replace, unlink = os.replace, Path.unlink

    def replaced(*of: Any) -> None:
        look()
        replace(*of)
        look()

    def unlinked(path: Path, **how: Any) -> None:
        unlink(path, **how)
        look()

    patch.setattr(os, "replace", replaced)
    patch.setattr(Path, "unlink", unlinked)


def test_the_checkpoint_of_another_run_counts_as_none(tmp_path: Path) -> None:
    own, other = RunFolder(tmp_path, "abc"), RunFolder(tmp_path, "abd")
    for folder in (own, other):
        folder.create({})
    other.save_checkpoint({"x": torch.ones(2)})
    shutil.copy(other.path / "checkpoint.pt", own.path / "checkpoint.pt")
    assert own.load_checkpoint() is None
    assert other.load_checkpoint() is not None


def test_a_damaged_record_is_set_aside_by_what_writes_there(tmp_path: Path, run: RunSpec) -> None:
    folder, sound = RunFolder(tmp_path, run.key()), record(run, tmp_path / "elsewhere").contents()
    for n, write in enumerate((lambda: folder.create(run.config()), lambda: folder.put(sound)), start=1):
        folder.put(sound)
        (folder.path / "result.json").write_text("{")
        assert not folder.is_complete()
        write()
        assert folder.fault() == ""
        assert (tmp_path / "set-aside" / f"{run.key()}-{n}" / "result.json").read_text() == "{"
    assert folder.contents() == sound


def test_contents_that_are_put_replace_all_files(tmp_path: Path, run: RunSpec) -> None:
    sound, folder = record(run, tmp_path / "elsewhere").contents(), RunFolder(tmp_path, run.key())
    folder.create({})
    folder.save_checkpoint({})
    folder.put(sound)
    assert folder.contents() == sound
    assert sorted(os.listdir(folder.path)) == sorted(sound.files)


def test_a_checkpoint_cannot_execute_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "sprung"),)

    folder = RunFolder(tmp_path, "abc")
    folder.create({})
    torch.save({"x": Trap()}, folder.path / "checkpoint.pt")
    assert folder.load_checkpoint() is None
    (folder.path / "checkpoint.pt").write_bytes(pickle.dumps(Trap(), protocol=2))
    assert folder.load_checkpoint() is None
    assert not (tmp_path / "sprung").exists()


def test_a_torn_checkpoint_counts_as_none(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "abc")
    folder.create({})
    folder.save_checkpoint({"x": torch.arange(1000)})
    whole = (folder.path / "checkpoint.pt").read_bytes()
    assert torch.equal((folder.load_checkpoint() or {})["x"], torch.arange(1000))
    (folder.path / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    assert folder.load_checkpoint() is None


def test_a_checkpoint_that_claims_more_than_it_holds_counts_as_none(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "abc")
    folder.create({})
    folder.save_checkpoint({"x": torch.zeros(1).expand(2**31)})
    assert folder.load_checkpoint() is None


def test_a_result_that_is_no_json_is_said(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "abc")
    folder.create({})
    (folder.path / "result.json").write_text("{")
    with pytest.raises(StoreError, match="must be readable JSON"):
        folder.result()
    assert not folder.is_complete()
    assert "result.json must be readable JSON" in folder.fault()


IN_ITS_PLACE: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a pipe": os.mkfifo,
}


@pytest.mark.parametrize("name", ["config.json", "trace.parquet", "examples.npz", "manifest.json", "result.json"])
@pytest.mark.parametrize("kind", IN_ITS_PLACE)
def test_what_stands_in_the_place_of_a_file_is_told_and_set_aside(
    tmp_path: Path, run: RunSpec, name: str, kind: str
) -> None:
    folder = record(run, tmp_path)
    (folder.path / name).unlink()
    IN_ITS_PLACE[kind](folder.path / name)
    assert folder.fault() == f"runs/{folder.key}: {name} must be a file, but is none."
    assert folder.sound_result() is None
    finish_again(folder, run)


@pytest.mark.parametrize("kind", ["a file", "a link to nowhere", "a link to itself"])
def test_what_stands_in_the_place_of_the_folder_is_told_and_set_aside(tmp_path: Path, run: RunSpec, kind: str) -> None:
    folder = record(run, tmp_path)
    shutil.rmtree(folder.path)
    {"a file": Path.touch, **IN_ITS_PLACE}[kind](folder.path)
    assert folder.fault() == f"runs/{folder.key} must be a folder, but is none."
    finish_again(folder, run)


@pytest.mark.parametrize("name", ["config.json", "trace.parquet", "examples.npz", "manifest.json", "result.json"])
@pytest.mark.parametrize("kind", ["sparse", "link out"])
def test_a_file_that_is_too_large_or_a_link_out_is_told_and_set_aside(
    tmp_path: Path, run: RunSpec, name: str, kind: str
) -> None:
    folder = record(run, tmp_path / "results")
    (folder.path / name).unlink()
    MISPLACED[kind](folder.path / name)
    fault = soon(folder.fault)
    assert name in fault
    assert ("51200.0 MiB, more than" if kind == "sparse" else "is a link out of the results folder") in fault
    assert len(fault) < 500
    finish_again(folder, run)
    assert kind == "sparse" or (tmp_path / PRIVATE_FILE).read_bytes() == PRIVATE


@pytest.mark.parametrize("kind", sorted(MISPLACED))
def test_a_private_file_is_never_taken_for_the_error_of_a_run(tmp_path: Path, run: RunSpec, kind: str) -> None:
    folder = failed(RunFolder(tmp_path / "results", run.key()), run, "details")
    (folder.path / "error.txt").unlink()
    MISPLACED[kind](folder.path / "error.txt")
    (folder.path / MANIFEST).unlink()  # as of an earlier version
    assert "error.txt" in soon(folder.fault)
    with pytest.raises(StoreError, match="error.txt must be a readable file, but"):
        soon(folder.contents)


def test_the_beginning_of_a_long_error_is_kept(tmp_path: Path, run: RunSpec) -> None:
    folder = failed(RunFolder(tmp_path, run.key()), run, "Traceback" + "x" * (3 * LARGEST_FILES["error.txt"]))
    assert folder.fault() == ""
    kept = folder.contents().files["error.txt"]
    assert kept.startswith(b"Traceback")
    assert len(kept) == LARGEST_FILES["error.txt"]


def failed(folder: RunFolder, run: RunSpec, details: str) -> RunFolder:
    identity = {"key": folder.key, "task": run.task, "method": "hf", "seed": 0, "study": "tiny", "threads": 1}
    folder.create(run.config())
    folder.fail({**identity, "versions": {}, "outcome": "failed", "error": "boom"}, details)
    return folder


@pytest.mark.parametrize("kind", sorted(MISPLACED))
def test_a_checkpoint_that_may_not_be_read_counts_as_none(tmp_path: Path, run: RunSpec, kind: str) -> None:
    folder = record(run, tmp_path / "results")
    whole = folder.contents()
    MISPLACED[kind](folder.path / "checkpoint.pt")
    assert soon(folder.load_checkpoint) is None
    assert soon(folder.contents) == whole
    MISPLACED[kind](folder.path / "progress.json")
    assert soon(folder.progress) is None


def test_a_folder_of_a_run_that_is_elsewhere_is_told_and_set_aside(tmp_path: Path, run: RunSpec) -> None:
    folder = record(run, tmp_path / "results")
    folder.path.rename(tmp_path / "elsewhere")
    folder.path.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert folder.fault() == f"runs/{folder.key} must be a folder, but is a link out of the results folder."
    assert folder.sound_result() is None
    before = sorted((tmp_path / "elsewhere").iterdir())
    finish_again(folder, run)
    assert sorted((tmp_path / "elsewhere").iterdir()) == before


def test_nothing_is_moved_or_written_where_the_runs_are_elsewhere(tmp_path: Path, run: RunSpec) -> None:
    folder = record(run, tmp_path / "results")
    folder.path.parent.rename(tmp_path / "elsewhere")
    folder.path.parent.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    before = sorted((tmp_path / "elsewhere").rglob("*"))
    for act in (lambda: folder.create(run.config()), folder.set_aside, lambda: folder.fail({}, "")):
        with pytest.raises(StoreError, match="must lie in the results folder, but is a link out of it"):
            act()
    assert sorted((tmp_path / "elsewhere").rglob("*")) == before


def test_the_results_folder_itself_may_be_a_link(tmp_path: Path, run: RunSpec) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "results").symlink_to("disk", target_is_directory=True)
    assert record(run, tmp_path / "results").fault() == ""
    assert RunFolder(tmp_path / "disk", run.key()).is_complete()


def finish_again(folder: RunFolder, run: RunSpec) -> None:
    folder.create(run.config())
    finish(folder, run)
    assert folder.fault(run.config()) == ""
    assert [path.name for path in (folder.results / "set-aside").iterdir()] == [f"{folder.key}-1"]


def test_pictures_that_fit_a_false_manifest_are_read_before_they_are_shown(tmp_path: Path, run: RunSpec) -> None:
    folder = record(run, tmp_path)
    files = {**folder.contents().files, "examples.npz": b""}
    del files[MANIFEST]
    (folder.path / "examples.npz").write_bytes(b"")
    (folder.path / MANIFEST).write_bytes(manifest_of(files))
    assert "examples.npz must be a readable file of arrays" in folder.fault()
