"""`hfbench import`: runs of other folders and archives come together, none lost, none repeated."""

from __future__ import annotations

import io
import shutil
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.made_records import records
from support.misplaced_files import MISPLACED, PRIVATE, soon
from support.shards import comparisons, imported, shard
from support.tiny_study import run_quietly, specs, tiny, uses_mlflow

from hfbench.commands import import_records
from hfbench.commands.export import export_study
from hfbench.config.study_runs import runs_of
from hfbench.errors import StoreError
from hfbench.records.run_folder import Contents, RunFolder

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store", "undrawn")]


def test_a_shard_that_is_missing_is_said_and_can_come_later(tmp_path: Path) -> None:
    study = tiny(tmp_path)
    shard(study, "1/2", tmp_path / "a")
    status, text = imported(study, tmp_path / "together", tmp_path / "a")
    assert status == 1
    assert "2 of 4 runs are not recorded" in text
    assert "hf on tiny-curves: seed 1" in text
    shard(study, "2/2", tmp_path / "b")
    status, text = imported(study, tmp_path / "together", tmp_path / "b")
    assert (status, "not recorded" in text) == (0, False)


@pytest.mark.slow
def test_shards_that_overlap_lose_and_repeat_nothing(tmp_path: Path) -> None:
    study = tiny(tmp_path)
    shard(study, "1/2", tmp_path / "a")
    shard(study, "1/1", tmp_path / "b")
    key = specs(study)["hf", 0].key()
    status, text = imported(study, tmp_path / "together", tmp_path / "a", tmp_path / "b")
    assert status == 0
    assert f"{tmp_path / 'b'}: 2 of 4 runs of tiny taken, 2 there already" in " ".join(text.split())
    for name in ("result.json", "trace.parquet"):
        kept, first = (RunFolder(tmp_path / of, key).path / name for of in ("together", "a"))
        assert kept.read_bytes() == first.read_bytes()


def test_shards_in_one_folder_need_no_source(tmp_path: Path) -> None:
    study = tiny(tmp_path)
    for which in ("1/2", "2/2"):
        shard(study, which, tmp_path / "shared")
    assert imported(study, tmp_path / "shared")[0] == 0
    assert comparisons(tmp_path / "shared")


@pytest.mark.slow
def test_an_archive_is_a_source_too(tmp_path: Path) -> None:
    study = tiny(tmp_path)
    run_quietly(study, tmp_path / "whole")
    export_study(study, tmp_path / "whole", None, Console(file=io.StringIO()), tmp_path / "all.parquet")
    assert imported(study, tmp_path / "together", tmp_path / "all.parquet")[0] == 0
    assert comparisons(tmp_path / "together") == comparisons(tmp_path / "whole")
    key = specs(study)["hf", 0].key()
    ended = [(RunFolder(tmp_path / of, key).path / "result.json").stat().st_mtime for of in ("whole", "together")]
    assert ended[0] == pytest.approx(ended[1], abs=1e-3)


def test_a_run_that_was_interrupted_elsewhere_goes_on_here(tmp_path: Path) -> None:
    study = tiny(tmp_path)
    spec = specs(study)["hf", 0]
    there = RunFolder(tmp_path / "there", spec.key())
    there.create(spec.config())
    there.save_checkpoint({"rows": []})
    with pytest.raises(StoreError, match="none of the 4 runs of tiny is recorded"):
        imported(study, tmp_path / "here", tmp_path / "there")  # nothing to judge yet
    assert RunFolder(tmp_path / "here", spec.key()).load_checkpoint() == {"rows": []}


def test_a_damaged_record_of_a_shard_is_named_and_the_others_are_taken(tmp_path: Path) -> None:
    study, here = tiny(tmp_path), tmp_path / "here"
    torn, *whole = records(study, tmp_path / "shard").values()
    (torn.path / "result.json").write_bytes((torn.path / "result.json").read_bytes()[:-9])
    status, text = imported(study, here, tmp_path / "shard")
    assert status == 1
    assert f"is left out: {torn.path}: result.json must have the sha256 that manifest.json lists" in text
    assert f"{tmp_path / 'shard'}: 3 of 3 runs of tiny taken" in text
    assert not RunFolder(here, torn.key).path.exists()
    assert all(RunFolder(here, folder.key).contents() == folder.contents() for folder in whole)

    records(study, tmp_path / "sound")
    assert imported(study, here, tmp_path / "sound")[0] == 0
    RunFolder(here, torn.key).trace_path.unlink()  # a damaged record here gives way to a sound one
    assert imported(study, here, tmp_path / "sound")[0] == 0
    assert not (here / "set-aside" / f"{torn.key}-1" / "trace.parquet").exists()
    assert RunFolder(here, torn.key).fault() == ""


def test_a_damaged_archive_is_refused_whole(tmp_path: Path) -> None:
    study, file = tiny(tmp_path), tmp_path / "all.parquet"
    records(study, tmp_path / "whole")
    export_study(study, tmp_path / "whole", None, Console(file=io.StringIO()), file)
    held = bytearray(file.read_bytes())
    held[len(held) // 2] ^= 1
    file.write_bytes(bytes(held))
    with pytest.raises(StoreError, match="must be an archive written by `hfbench export`, but"):
        imported(study, tmp_path / "here", file)
    assert not (tmp_path / "here").exists()


def test_foreign_sources_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    study, here = tiny(tmp_path), tmp_path / "here"
    shard(study, "1/2", tmp_path / "good")
    other = tiny(tmp_path / "other", "methods.hf.max_inner=3", "methods.shf.max_inner=3")
    shard(other, "1/1", tmp_path / "others")
    (tmp_path / "text").write_text("no archive")
    (tmp_path / "empty").mkdir()
    damaged = RunFolder(tmp_path / "damaged", specs(study)["hf", 0].key())
    damaged.create(specs(study)["hf", 1].config())
    for source, message in {
        "none": "is not there",
        "empty": "holds no runs/",
        "text": "must be an archive written by `hfbench export`",
        "others": "holds none of the 4 runs of tiny, with these settings, data and version of hfbench",
        "damaged": "must hold the run of its name, but its config.json is another's",
    }.items():
        with pytest.raises(StoreError, match=message):
            imported(study, here, tmp_path / "good", tmp_path / source)
        assert not here.exists()


NAMES = ("config.json", "trace.parquet", "examples.npz", "error.txt", "manifest.json", "result.json")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", sorted(MISPLACED))
def test_a_run_with_a_file_that_may_not_be_read_is_left_out(tmp_path: Path, name: str, kind: str) -> None:
    study, screen = tiny(tmp_path), io.StringIO()
    bad, *sound = records(study, tmp_path / "source").values()
    (bad.path / name).unlink(missing_ok=True)
    MISPLACED[kind](bad.path / name)
    planned, console = {spec.key(): spec for spec in runs_of(study)}, Console(file=screen, width=80)
    found = soon(lambda: import_records._records_in(tmp_path / "source", planned, "tiny", console))
    assert found.keys == [folder.key for folder in sound]
    assert f"/s0 is left out: {bad.path}: {bad.path / name} must be a readable file, but: it " in screen.getvalue()


@pytest.mark.parametrize("kind", ["link out", "pipe"])
def test_the_others_are_taken_and_nothing_private(tmp_path: Path, kind: str) -> None:
    study, here = tiny(tmp_path), tmp_path / "here"
    bad, *sound = records(study, tmp_path / "source").values()
    MISPLACED[kind](bad.path / "error.txt")
    status, text = soon(lambda: imported(study, here, tmp_path / "source"), 60)
    assert status == 1
    assert f"{tmp_path / 'source'}: 3 of 3 runs of tiny taken" in text
    assert not RunFolder(here, bad.key).path.exists()
    assert all(RunFolder(here, folder.key).contents() == folder.contents() for folder in sound)
    assert nowhere(PRIVATE, here)


def nowhere(contents: bytes, folder: Path) -> bool:
    """True if no file of the folder, MLflow's included, holds these contents."""
    return not any(contents in file.read_bytes() for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("kind", ["link out", "pipe"])
def test_a_checkpoint_that_may_not_be_read_is_not_taken(tmp_path: Path, kind: str) -> None:
    study, here = tiny(tmp_path), tmp_path / "here"
    first = list(records(study, tmp_path / "source").values())[0]
    MISPLACED[kind](first.path / "checkpoint.pt")
    assert soon(lambda: imported(study, here, tmp_path / "source"), 60)[0] == 0
    assert "checkpoint.pt" not in RunFolder(here, first.key).contents().files
    assert nowhere(PRIVATE, here)


@pytest.mark.parametrize("what", ["runs", "run"])
def test_a_folder_of_a_source_that_is_elsewhere_is_not_read(tmp_path: Path, what: str) -> None:
    study, here, source = tiny(tmp_path), tmp_path / "here", tmp_path / "source"
    records(study, tmp_path / "private")
    there, key = tmp_path / "private" / "runs", specs(study)["hf", 0].key()
    source.mkdir()
    if what == "run":
        records(study, source)
        shutil.rmtree(source / "runs" / key)
        (source / "runs" / key).symlink_to(there / key, target_is_directory=True)
        assert "is a link out of" in imported(study, here, source)[1]
        assert not RunFolder(here, key).path.exists()
    else:
        (source / "runs").symlink_to(there, target_is_directory=True)
        with pytest.raises(StoreError, match="source/runs must lie in the results folder, but is a link out of it"):
            imported(study, here, source)
        assert not here.exists()


def test_a_source_may_itself_be_a_link(tmp_path: Path) -> None:
    study = tiny(tmp_path)
    records(study, tmp_path / "disk")
    (tmp_path / "source").symlink_to("disk", target_is_directory=True)
    assert imported(study, tmp_path / "here", tmp_path / "source")[0] == 0


def test_a_source_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    MISPLACED["pipe"](tmp_path / "source")
    with pytest.raises(StoreError, match="a source must be a results folder or an archive .*/source is neither"):
        soon(lambda: imported(tiny(tmp_path), tmp_path / "here", tmp_path / "source"))


def test_what_is_written_is_what_was_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are exchanged between a check and a copy: nothing that was not checked is believed."""
    study, here = tiny(tmp_path), tmp_path / "here"
    folders = records(study, tmp_path / "source")
    check = import_records.check_planned

    def exchanged(key: str, files: Mapping[str, bytes], planned: Mapping[str, Any]) -> None:
        check(key, files, planned)
        (folders[key].path / "trace.parquet").write_bytes(b"exchanged")

    monkeypatch.setattr(import_records, "check_planned", exchanged)
    with pytest.raises(StoreError, match="trace.parquet must have the sha256 that manifest.json lists"):
        imported(study, here, tmp_path / "source")
    assert nowhere(b"exchanged", here)


def test_one_run_at_a_time_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source may have checkpoints of gigabytes."""
    study, alive, most, read = tiny(tmp_path), [0], [0], RunFolder.contents

    def counted(folder: RunFolder) -> Contents:
        contents = read(folder)
        alive[0] += 1
        most[0] = max(most[0], alive[0])
        weakref.finalize(contents, lambda: alive.__setitem__(0, alive[0] - 1))
        return contents

    records(study, tmp_path / "source")
    monkeypatch.setattr(RunFolder, "contents", counted)
    assert imported(study, tmp_path / "here", tmp_path / "source")[0] == 0
    assert most[0] <= 2
