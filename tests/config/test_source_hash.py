"""The source that a run's key is of: the numerics, and what its parts depend on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.plugin_files import fresh
from support.tiny_study import specs, tiny

from hfbench import registry
from hfbench.config import source_hash
from hfbench.config.run_spec import RunSpec
from hfbench.parts.hyperparameters import part
from hfbench.parts.plugin_files import load_plugin
from hfbench.solvers.cg import CG

pytestmark = pytest.mark.usefixtures("forgotten")

PLUGIN = """
from hfbench import registry
from hfbench.parts import part

@part
class Mine:
    '''A solver from a file.'''
    def iterates(self, system, x0, preconditioner):
        yield 1

@part
class Other:
    '''A rule in the same file.'''
    needs = ()
    def begin(self):
        return lambda state: None

registry.add("solver", "mine", Mine)
registry.add("rule", "other", Other)
"""

Keys = Callable[[str], tuple[str, str]]


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    return specs(tiny(tmp_path / "study"))["shf", 0]


@pytest.fixture
def keys(spec: RunSpec, tmp_path: Path) -> Keys:
    """The keys of a run with the plugin's solver, and of one with its rule, for a text of the plugin."""

    def call(text: str) -> tuple[str, str]:
        file = tmp_path / "mine_plugin.py"
        file.write_text(text)
        fresh()
        load_plugin(file)
        changes = {"solver": {"use": "mine"}}, {"rules": ({"use": "other"},)}
        solver, rule = (replace(spec, method=replace(spec.method, **change)).key() for change in changes)
        return solver, rule

    return call


@pytest.mark.parametrize(
    ("old", "new"),
    [("'''A solver from a file.'''", "'''Another docstring.'''"), ("        yield 1", "        yield 1  # a comment")],
)
def test_comments_and_docstrings_of_a_plugin_change_no_key(keys: Keys, old: str, new: str) -> None:
    assert keys(PLUGIN.replace(old, new)) == keys(PLUGIN)


def test_an_edit_of_one_part_of_a_file_leaves_the_others_keys(keys: Keys) -> None:
    solver, rule = keys(PLUGIN)
    edited = keys(PLUGIN.replace("yield 1", "yield 2"))
    assert edited[0] != solver
    assert edited[1] == rule


def test_a_built_in_part_that_one_is_made_of_is_in_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    @part
    class Derived(CG):
        """A part made of a built-in one."""

    def source() -> bytes:
        source_hash._part_source.cache_clear()
        return source_hash._part_source(Derived)

    before, plain = source(), source_hash.canonical_text
    monkeypatch.setattr(source_hash, "canonical_text", lambda nodes: plain(nodes).replace('"gain"', '"loss"'))
    assert source() != before
    source_hash._part_source.cache_clear()


def test_siblings_of_a_built_in_part_are_part_of_its_source() -> None:
    files = source_hash._files({"hfbench.solvers.lsmr"}, "hfbench.solvers.lsmr")
    assert {"hfbench.solvers.lsmr", "hfbench.solvers.bidiagonalisation"} <= set(files)
    assert all(name.startswith("hfbench.solvers.") for name in files)


@pytest.mark.parametrize("family", registry.FAMILIES)
def test_no_built_in_part_counts_by_its_bytes(family: str) -> None:
    for name in registry.names(family):
        module = registry.get(family, name).__module__
        for _, source in source_hash._files({module}, module).values():
            assert source is not None
            assert not source.looks_at_itself()


def test_the_key_covers_the_folders_of_the_numerics() -> None:
    places = [source_hash.CORE / name for name in source_hash.NUMERICS]
    assert all(place.exists() for place in places)
    covered = {file.stem for place in places for file in (*place.rglob("*.py"), place)}
    assert {"vector", "loss", "linearisation", "system", "optimizer", "attempt", "batches", "trace"} <= covered
    assert not {"load", "mlflow_store", "comparisons", "style", "main"} & covered


def test_of_the_numerics_what_runs_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "linalg").mkdir()
    file = tmp_path / "linalg" / "vector.py"
    monkeypatch.setattr(source_hash, "CORE", tmp_path)
    monkeypatch.setattr(source_hash, "NUMERICS", ("linalg",))

    def core(text: str) -> bytes:
        file.write_text(text)
        source_hash._core_source.cache_clear()
        return source_hash._core_source()

    try:
        plain = core("def f():\n    return 1\n")
        assert core('def f():\n    """A docstring."""\n    return 1  # a comment\n') == plain
        assert core("def f():\n    return 2\n") != plain
    finally:
        source_hash._core_source.cache_clear()
