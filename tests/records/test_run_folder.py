from __future__ import annotations

import json
import math
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_study import specs, tiny

from hfbench import registry
from hfbench.config import source_hash
from hfbench.config.run_spec import RunSpec
from hfbench.errors import ConfigError, StoreError
from hfbench.records.files import finite, prepare, read_json, safe_name, write_atomically, write_json
from hfbench.records.run_folder import RunFolder


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    return specs(tiny(tmp_path / "study"))["shf", 0]


def test_a_key_is_16_digits_and_stable(spec: RunSpec) -> None:
    key = spec.key()
    assert len(key) == 16
    assert int(key, 16) >= 0
    assert replace(spec).key() == key


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"target": 59.0},
        {"budget": {"iterations": 7.0}},
        {"precision": "float64"},
        {"stop_at_target": False},
        {"files": {"curves/digs3pts_1.mat": "abc"}},
    ],
)
def test_whatever_decides_the_numbers_changes_the_key(spec: RunSpec, change: dict[str, Any]) -> None:
    assert replace(spec, **change).key() != spec.key()


def test_settings_of_parts_change_the_key(spec: RunSpec) -> None:
    other = replace(spec.method, preconditioner={**spec.method.preconditioner, "power": 0.5})
    assert replace(spec, method=other).key() != spec.key()


PLUGIN = """
from hfbench.parts.hyperparameters import part
from helper_of_plugin import FACTOR

@part
class Mine:
    '''A solver from a file.'''
    def iterates(self, system, x0, preconditioner):
        yield FACTOR
"""


def _plugin_key(folder: Path, spec: RunSpec, monkeypatch: pytest.MonkeyPatch) -> str:
    import sys

    monkeypatch.syspath_prepend(str(folder))
    for name in ("mine_plugin", "helper_of_plugin"):
        sys.modules.pop(name, None)
    source_hash._part_source.cache_clear()
    import mine_plugin  # type: ignore[import-not-found]

    with registry.temporary("solver", "mine", mine_plugin.Mine):
        return replace(spec, method=replace(spec.method, solver={"use": "mine"})).key()


def test_the_source_of_a_plugin_file_changes_the_key(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = set()
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    for number, text in enumerate((PLUGIN, PLUGIN, PLUGIN + "# changed\n")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "mine_plugin.py").write_text(text)
        (folder / "helper_of_plugin.py").write_text("FACTOR = 1\n")
        keys.add(_plugin_key(folder, spec, monkeypatch))
    assert len(keys) == 2


def test_siblings_of_a_built_in_part_are_part_of_its_source() -> None:
    lsmr = registry.get("solver", "lsmr")
    names = set(source_hash._imports(lsmr.__module__, Path(str(__import__("sys").modules[lsmr.__module__].__file__))))
    assert any(name.startswith("hfbench.solvers.") for name in names)
    assert len(source_hash._part_source(lsmr)) > 32


def test_the_key_covers_the_folders_of_the_numerics() -> None:
    places = [source_hash.CORE / name for name in source_hash.NUMERICS]
    assert all(place.exists() for place in places)
    covered = {file.stem for place in places for file in (*place.rglob("*.py"), place)}
    assert {"vector", "loss", "linearisation", "system", "optimizer", "attempt", "batches", "trace"} <= covered
    assert not {"load", "mlflow_store", "comparisons", "style", "main"} & covered


def test_results_are_the_last_thing_written_and_leave_no_scratch(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "abc")
    folder.create({"a": 1})
    assert folder.result() is None
    assert not folder.is_complete()
    folder.save_checkpoint({"x": torch.ones(2)})
    folder.report({"name": "n"})
    folder.finish([{"iteration": 0}], {"outcome": "budget", "error": None})
    assert folder.is_complete()
    assert sorted(os.listdir(folder.path)) == ["config.json", "result.json", "trace.parquet"]


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


def test_numbers_json_cannot_hold_become_null(tmp_path: Path) -> None:
    assert finite({"a": [math.inf, 1.0], "b": (math.nan,)}) == {"a": [None, 1.0], "b": [None]}
    write_json(tmp_path / "a.json", {"rho": -math.inf})
    assert json.loads((tmp_path / "a.json").read_text()) == {"rho": None}


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


def test_a_results_folder_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(StoreError, match="must be writable"):
        prepare(file / "results")


def test_a_result_that_is_no_json_is_said(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "abc")
    folder.create({})
    (folder.path / "result.json").write_text("{")
    with pytest.raises(StoreError, match="must be readable JSON"):
        folder.is_complete()


@pytest.mark.parametrize("name", ["../up", "/etc", "a/b", "", ".hidden", "a\\b", "x" * 101])
def test_names_never_become_paths_unchecked(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a name that becomes a folder"):
        safe_name(name)
    with pytest.raises(ConfigError):
        RunFolder(tmp_path, name)
