"""Shards of a study, and the import that brings them together: the same tables as one run, nothing lost or repeated."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.tiny_study import run_quietly, specs, tiny, uses_mlflow

from hfbench.commands.export import export_study
from hfbench.commands.import_records import import_study
from hfbench.commands.run_shard import Shard, run_shard, shard_of
from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of
from hfbench.errors import ConfigError, StoreError
from hfbench.records.locks import TakenError, study_lock
from hfbench.records.run_folder import RunFolder
from hfbench.tracking.mlflow_store import Tracker

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store", "undrawn")]


def shard(study: Study, which: str, results: Path) -> tuple[int, str]:
    screen = io.StringIO()
    console = Console(file=screen, width=80)
    status = run_shard(study, shard_of(which), results, 1, None, console, ["--seeds", "5"])
    return status, screen.getvalue()


def imported(study: Study, results: Path, *sources: Path) -> tuple[int, str]:
    screen = io.StringIO()
    status = import_study(study, sources, results, None, Console(file=screen, width=80))
    return status, screen.getvalue()


def comparisons(results: Path) -> dict[str, Any]:
    """All that was judged, but for what no two runs agree on."""
    found = json.loads((results / "studies/tiny/comparisons.json").read_text())
    moody = ("seconds_to_target", "peak_memory")
    return found | {"secondary": [one for one in found["secondary"] if one["measure"] not in moody]}


def test_four_shards_and_an_import_give_the_tables_of_one_run(tmp_path: Path) -> None:
    study = tiny(tmp_path, "study.seeds=5")
    run_quietly(study, tmp_path / "whole")
    folders = [tmp_path / f"shard-{i}" for i in range(1, 5)]
    for i, folder in enumerate(folders, 1):
        status, text = shard(study, f"{i}/4", folder)
        assert status == 0
        assert f"tiny, shard {i}/4: {4 if i == 1 else 2} of 10 runs" in text
        assert text.splitlines()[-4:] == [
            "When all shards have run, in this folder:",
            f"  hfbench import tiny.toml --results {folder} --seeds 5",
            "or each in a folder of its own:",
            f"  hfbench import tiny.toml {folder} ... --results all --seeds 5",
        ]
        assert not (folder / "mlflow.db").exists(), "a shard writes to no database"
    status, text = imported(study, tmp_path / "together", *folders)
    assert status == 0
    assert f"{folders[0]}: 4 of 4 runs of tiny taken" in text
    assert comparisons(tmp_path / "together") == comparisons(tmp_path / "whole")
    tracker = Tracker(tmp_path / "together", "tiny", "looking")
    tracker.client.delete_run(tracker.parent)
    assert len(tracker.client.search_runs([tracker.experiment])) == 11  # ten runs, and the study


def test_shards_share_out_every_run_once_and_keep_methods_of_a_seed_together(tmp_path: Path) -> None:
    found = {spec.key(): spec for spec in runs_of(tiny(tmp_path, "study.seeds=5"))}
    parts = [Shard(i, 3).of(found) for i in (1, 2, 3)]
    assert sorted(key for one in parts for key in one) == sorted(found)
    seeds = [{spec.seed for spec in one.values()} for one in parts]
    assert all(not a & b for a, b in zip(seeds, [*seeds[1:], seeds[0]], strict=True))
    assert Shard(9, 9).of(found) == {}


def test_an_empty_shard_is_no_failure(tmp_path: Path) -> None:
    assert shard(tiny(tmp_path), "3/3", tmp_path / "results")[0] == 0


@pytest.mark.parametrize("given", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4", "1/4/2"])
def test_what_is_no_shard_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="--shard: must be i/n with i from 1 to n"):
        shard_of(given)


def test_a_shard_is_not_run_twice_at_once_but_beside_others(tmp_path: Path) -> None:
    study = tiny(tmp_path)
    with study_lock(tmp_path / "results", "tiny.shard-1-of-2", "hfbench run --shard 1/2"):
        with pytest.raises(TakenError, match="`hfbench run --shard 1/2`"):
            shard(study, "1/2", tmp_path / "results")
        assert shard(study, "2/2", tmp_path / "results")[0] == 0


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


def test_a_failed_shard_says_so(tmp_path: Path) -> None:
    study = tiny(tmp_path, extra='[methods.bad]\nsolver = "dense"\npreconditioner = "identity"\nscheduler = "fixed"\n')
    status, text = shard(study, "1/2", tmp_path / "results")
    assert status == 1
    assert "bad/tiny-curves/s0: failed" in text
    assert json.loads((RunFolder(tmp_path / "results", specs(study)["hf", 0].key()).path / "result.json").read_text())
