"""The source that a run's key is of: the numerics, its parts' files, and what these import."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.tiny_study import specs, tiny

from hfbench import registry
from hfbench.config import source_hash
from hfbench.config.run_spec import RunSpec
from hfbench.parts.hyperparameters import part
from hfbench.solvers.cg import CG


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    return specs(tiny(tmp_path / "study"))["shf", 0]


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


pytestmark = pytest.mark.usefixtures("forgotten")


@part
class Derived(CG):
    """A part made of a built-in one."""


def test_the_source_of_a_built_in_part_that_one_is_made_of_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def source() -> bytes:
        source_hash._part_source.cache_clear()
        return source_hash._part_source(Derived)

    before, plain = source(), source_hash._hash
    monkeypatch.setattr(source_hash, "_hash", lambda file: plain(file) + bytes(file.name == "cg.py"))
    assert source() != before
    source_hash._part_source.cache_clear()
