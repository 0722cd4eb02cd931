"""Runs with a smaller budget: which ones another run may go on from."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.made_records import result_of, rows_of
from support.misplaced_files import soon
from support.tiny_study import specs, tiny

from hfbench.config.run_spec import RunSpec
from hfbench.parts import registry
from hfbench.parts.hyperparameters import settings_of
from hfbench.records.run_folder import RunFolder
from hfbench.records.shorter_runs import ShorterRuns


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    return replace(specs(tiny(tmp_path))["hf", 0], budget={"passes": 100})


def record(spec: RunSpec, results: Path, **spent: Any) -> str:
    """A record of a run that its budget ended after one row, as if it had been made."""
    folder = RunFolder(results, spec.key())
    folder.create(spec.config())
    first, row, *_ = rows_of(spec)
    counts = {"work": 1.0, "seconds": 1.0, "products": 1.0, "iterations": 1} | spent
    row |= {"iteration": counts.pop("iterations"), **counts}
    result = result_of(spec, folder.key, [first, row], "tiny")
    missed = {name: None for name in result if name.endswith("_target")}
    folder.finish([first, row], result | missed | {"outcome": "budget"})
    return folder.key


def found(spec: RunSpec, results: Path) -> str:
    folder = ShorterRuns(results).of(spec)
    return folder.key if folder is not None else ""


def test_the_longest_run_that_spent_less_is_found(spec: RunSpec, tmp_path: Path) -> None:
    assert found(spec, tmp_path) == ""
    record(replace(spec, budget={"passes": 10}), tmp_path, work=11.0, iterations=3)
    longest = record(replace(spec, budget={"iterations": 7}), tmp_path, work=50.0, iterations=7)
    record(replace(spec, budget={"passes": 200}), tmp_path, work=201.0, iterations=30)
    record(spec, tmp_path, work=101.0, iterations=20)
    assert found(spec, tmp_path) == longest


@pytest.mark.parametrize(
    ("settings", "goes_on"),
    [({}, True), ({"schedule": "cosine"}, False), ({"warmup": 0.1}, False), ({"schedule": "one-cycle"}, False)],
)
def test_a_schedule_over_the_whole_run_goes_on_from_no_shorter_one(
    spec: RunSpec, tmp_path: Path, settings: dict[str, Any], goes_on: bool
) -> None:
    baseline = {"use": "adamw", **settings_of(registry.build("optimizer", {"use": "adamw", **settings}))}
    method = replace(
        spec.method, optimizer=baseline, solver=None, preconditioner=None, rules=(), globalization={}, name="hf"
    )
    spec = replace(spec, method=method)
    shorter = record(replace(spec, budget={"passes": 10}), tmp_path, work=11.0, products=None, iterations=3)
    assert found(spec, tmp_path) == (shorter if goes_on else "")


@pytest.mark.parametrize(
    ("limit", "spent"),
    [("passes", "work"), ("seconds", "seconds"), ("products", "products"), ("iterations", "iterations")],
)
def test_a_run_that_spent_all_of_any_limit_is_not_shorter(
    spec: RunSpec, tmp_path: Path, limit: str, spent: str
) -> None:
    record(replace(spec, budget={"passes": 10}), tmp_path, **{spent: 5})
    assert found(replace(spec, budget={limit: 5}), tmp_path) == ""
    assert found(replace(spec, budget={limit: 6}), tmp_path) != ""


def test_runs_that_differ_in_anything_else_or_failed_are_not_found(spec: RunSpec, tmp_path: Path) -> None:
    smaller = replace(spec, budget={"passes": 10})
    record(replace(smaller, seed=1), tmp_path)
    record(replace(smaller, target=1.0), tmp_path)
    record(replace(smaller, stop_at_target=False), tmp_path)
    record(replace(smaller, method=replace(spec.method, max_inner=7)), tmp_path)
    assert found(spec, tmp_path) == ""
    failed = {"outcome": "failed", "error": "ValueError: no", "cause": "method"}
    result = RunFolder(tmp_path, record(smaller, tmp_path)).result() or {}
    RunFolder(tmp_path, smaller.key()).fail(result | failed, "no")
    assert found(spec, tmp_path) == ""


def test_a_follower_may_have_followed_a_shorter_leader(spec: RunSpec, tmp_path: Path) -> None:
    key = record(replace(spec, budget={"passes": 10}, follows="0123456789abcdef"), tmp_path)
    assert found(replace(spec, follows="fedcba9876543210"), tmp_path) == key


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"budget": 3}', '{"method": 1, "task": 2, "seed": 3}'])
def test_a_configuration_that_cannot_be_read_is_of_no_shorter_run(spec: RunSpec, tmp_path: Path, text: str) -> None:
    key = record(replace(spec, budget={"passes": 10}), tmp_path)
    (tmp_path / "runs" / key / "config.json").write_text(text)
    assert found(spec, tmp_path) == ""


def test_a_run_of_another_version_of_the_numerics_is_not_found(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(replace(spec, budget={"passes": 10}), tmp_path)
    monkeypatch.setattr("hfbench.config.run_spec._core_source", lambda: b"changed")
    assert found(spec, tmp_path) == ""


def test_folders_that_are_no_runs_are_passed_over(spec: RunSpec, tmp_path: Path) -> None:
    shorter = record(replace(spec, budget={"passes": 10}), tmp_path)
    there = RunFolder(tmp_path, shorter).path
    shutil.copytree(there, there.with_name("no name of a run"))
    there.with_name("link").symlink_to(there.with_name("nowhere"))
    os.mkfifo(there.with_name("pipe"))
    there.with_name("stuck").mkdir()
    os.mkfifo(there.with_name("stuck") / "config.json")
    assert soon(lambda: found(spec, tmp_path)) == shorter
