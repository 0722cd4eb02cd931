"""Imports of the old layout: the same name, or one sentence with the module that has it now."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from hfbench.moved_imports import MOVED

PLUGIN = """
from hfbench.space import part
from hfbench.protocols import Stop
"""


@pytest.mark.parametrize("name", sorted({f"hfbench.{target}" for target in MOVED.values()}))
def test_what_is_named_is_there(name: str) -> None:
    assert importlib.util.find_spec(name) is not None


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_name_is_one_sentence_with_the_new_one(old: str) -> None:
    says = rf"^No module named 'hfbench\.{old}': it was moved; import its names from hfbench\.{MOVED[old]}\.$"
    with pytest.raises(ModuleNotFoundError, match=says):
        importlib.import_module(f"hfbench.{old}")


def test_names_that_had_a_page_of_their_own_are_where_they_were() -> None:
    import hfbench
    from hfbench.config import Study, load_study, shipped_studies
    from hfbench.config.load import load_study as loader
    from hfbench.curvature import linearize

    assert (load_study, linearize) == (loader, hfbench.linearize)
    assert "quickstart" in shipped_studies()
    assert isinstance(load_study("quickstart"), Study)
    with pytest.raises(ModuleNotFoundError, match=r"write `from hfbench import registry`"):
        importlib.import_module("hfbench.registry")


def test_other_missing_modules_are_told_by_python() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'hfbench\.nothing'$"):
        importlib.import_module("hfbench.nothing")
    assert importlib.util.find_spec("hfbench.nothing") is None


def test_a_plugin_of_the_old_layout_is_told_what_to_import(tmp_path: Path) -> None:
    file = tmp_path / "old_plugin.py"
    file.write_text(PLUGIN)
    command = [sys.executable, "-m", "hfbench", "show", "lsmr", "--plugin", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "it was moved; import its names from hfbench.parts" in " ".join(done.stderr.split())
