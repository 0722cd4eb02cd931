"""`hfbench import`: runs of other folders and archives come together, none lost, none repeated."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from support.made_records import records
from support.shards import comparisons, imported, shard
from support.tiny_study import run_quietly, specs, tiny, uses_mlflow

from hfbench.commands.export import export_study
from hfbench.errors import StoreError
from hfbench.records.run_folder import RunFolder

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
