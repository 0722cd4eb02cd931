"""The source that a run's key is of: the numerics, and what its parts depend on."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.plugin_files import fresh
from support.tiny_study import specs, tiny

from hfbench import registry
from hfbench.config import source_hash
from hfbench.config.run_spec import RunSpec
from hfbench.parts.plugin_files import load_plugin

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
Helped = Callable[[str, str], tuple[str, str]]


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


# ---------------------------------------------------------------- files beside a plugin file

BESIDE = "import sys; from pathlib import Path; sys.path.insert(0, str(Path(__file__).parent))"
# Ways to STEP of a file beside the plugin file: the file, lines at its beginning, what the solver yields.
HELPERS = {
    "an import": ("beside_a.py", "import beside_a", "beside_a.STEP"),
    "a name": ("beside_b.py", "from beside_b import STEP as step", "step"),
    "an import in a function": ("beside_c.py", "", "__import__('beside_c').STEP"),
    "a package": ("beside_d/__init__.py", "import beside_d", "beside_d.STEP"),
    "a module of a package": ("beside_e/inner.py", "from beside_e.inner import STEP", "STEP"),
    "its path": (
        "beside_f.py",
        "import runpy; f = runpy.run_path(str(Path(__file__).with_name('beside_f.py')))",
        "f['STEP']",
    ),
    "importlib": ("beside_g.py", "import importlib\ng = importlib.import_module('beside_g')", "g.STEP"),
}


@pytest.fixture
def helped(keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Helped]:
    """The keys of runs with a plugin that reaches a helper beside it in one of the ways, for a text of the helper."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def forget() -> None:
        importlib.invalidate_caches()
        for name in [name for name in sys.modules if name.startswith("beside_")]:
            del sys.modules[name]

    def call(way: str, helper: str) -> tuple[str, str]:
        forget()
        name, line, value = HELPERS[way]
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(helper)
        return keys(f"{BESIDE}\n{line}\n{PLUGIN.replace('yield 1', f'yield {value}')}")

    yield call
    forget()


@pytest.mark.parametrize("way", HELPERS)
def test_an_edit_of_a_helper_beside_a_plugin_file_changes_the_keys_of_what_reaches_it(helped: Helped, way: str) -> None:
    solver, rule = helped(way, "STEP = 1\nIDLE = 1\n")
    edited = helped(way, "STEP = 2\nIDLE = 1\n")
    assert edited[0] != solver
    if way in ("an import", "a name", "a package", "a module of a package"):
        assert edited[1] == rule
        assert helped(way, "STEP = 1  # a comment\nIDLE = 2\n") == (solver, rule)


def test_what_a_helper_imports_is_followed_but_no_library(helped: Helped, tmp_path: Path) -> None:
    helper = "import json, torch.nn, beside_further\nSTEP = beside_further.STEP + len(torch.nn.__name__)\n"
    (tmp_path / "beside_further.py").write_text("STEP = 1\n")
    solver, rule = helped("an import", helper)
    module = registry.get("solver", "mine").__module__
    assert set(source_hash._files({module}, module)) == {module, "beside_a", "beside_further"}
    (tmp_path / "beside_further.py").write_text("STEP = 2\n")
    edited = helped("an import", helper)
    assert edited[0] != solver
    assert edited[1] == rule


def test_a_file_beside_a_plugin_file_that_it_does_not_import_changes_no_key(helped: Helped, tmp_path: Path) -> None:
    before = helped("an import", "STEP = 1\n")
    (tmp_path / "beside_b.py").write_text("STEP = 1\n")
    assert helped("an import", "STEP = 1\n") == before


def test_a_built_in_part_that_one_is_made_of_is_in_its_source(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    imports = "from hfbench.solvers.cg import CG\n"
    derived = imports + PLUGIN.replace("class Mine:", "class Mine(CG):")
    before, plain = keys(derived), source_hash.canonical_text
    monkeypatch.setattr(source_hash, "canonical_text", lambda nodes: plain(nodes).replace('"gain"', '"loss"'))
    assert keys(derived)[0] != before[0]
    assert keys(derived)[1] == before[1]


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
            assert not source.looks_at_itself


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
