"""Shards of a study: together the same tables as one run, each with its own share of the runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.shards import comparisons, imported, shard
from support.tiny_study import mlflow_runs, run_quietly, specs, tiny, uses_mlflow

from hfbench.commands.run_shard import Shard, shard_of
from hfbench.config.study_runs import runs_of
from hfbench.errors import ConfigError
from hfbench.records.locks import TakenError, study_lock
from hfbench.records.run_folder import RunFolder

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store", "undrawn")]


@pytest.mark.slow
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
            f"  hfbench import {study.source} --seeds 5 --results {folder}",
            "or each in a folder of its own:",
            f"  hfbench import {study.source} {folder} ... --seeds 5 --results all",
        ]
        assert not (folder / "mlflow.db").exists(), "a shard writes to no database"
    status, text = imported(study, tmp_path / "together", *folders)
    assert status == 0
    assert f"{folders[0]}: 4 of 4 runs of tiny taken" in text
    assert comparisons(tmp_path / "together") == comparisons(tmp_path / "whole")
    assert len(mlflow_runs(tmp_path / "together")) == 11  # ten runs, and the study


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


def test_a_failed_shard_says_so(tmp_path: Path) -> None:
    study = tiny(tmp_path, extra='[methods.bad]\nsolver = "dense"\npreconditioner = "identity"\nscheduler = "fixed"\n')
    status, text = shard(study, "1/2", tmp_path / "results")
    assert status == 1
    assert "bad/tiny-curves/s0: failed" in text
    assert json.loads((RunFolder(tmp_path / "results", specs(study)["hf", 0].key()).path / "result.json").read_text())
