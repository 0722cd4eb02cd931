"""Errors of plugins: the line of the part where they arose, told without detours."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.plugin_files import PART
from support.tiny_study import MISBEHAVING, attempt, specs, tiny

from hfbench import registry
from hfbench.errors import HfbenchError
from hfbench.parts import families, plugin_errors
from hfbench.parts.hyperparameters import part
from hfbench.records.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("forgotten")


def test_paths_are_told_without_detours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install: Callable[..., Path]
) -> None:
    site = install("acme", "[hfbench.rules]\nlate = acme_late:Rule\n", acme_late="1 / 0", acme_part=PART)
    (tmp_path / "other").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "other" / ".." / "acme"), *sys.path])
    with pytest.raises(HfbenchError) as caught:
        registry.get("rule", "late")
    assert f"({site / 'acme_late.py'}:1)" in str(caught.value)
    assert f'File "{site / "acme_late.py"}", line 1' in plugin_errors.plugin_traceback(
        caught.value.__cause__ or caught.value
    )
    assert families.file_of(importlib.import_module("acme_part").Steepest) == str(site / "acme_part.py")


@part
class MisusesTorch:
    def iterates(self, system: Any, x0: Any, preconditioner: Any) -> Any:
        return torch.nn.Linear(3, 3)(torch.ones(2))


@part
class MisusesHfbench:
    def iterates(self, system: Any, x0: Any, preconditioner: Any) -> Any:
        return system.linearisation.jvp([torch.zeros(1)])


@pytest.mark.parametrize(
    ("solver", "line"), [(MisusesTorch, "torch.nn.Linear"), (MisusesHfbench, "system.linearisation.jvp")]
)
def test_an_error_says_where_in_the_part_it_arose(tmp_path: Path, solver: Any, line: str) -> None:
    """Not where in torch or hfbench it was noticed; that is in the traceback."""
    with registry.temporary("solver", "planted", solver):
        result = attempt(specs(tiny(tmp_path, extra=MISBEHAVING % ("odd", "planted")))["odd", 0], tmp_path)
    found = re.fullmatch(r"\w+Error: .*[^.] \((.*):(\d+)\)", result["error"])
    assert found is not None, result["error"]
    assert found[1] == str(Path(__file__).resolve())
    assert line in Path(__file__).read_text().splitlines()[int(found[2]) - 1]
    assert "Traceback" in (RunFolder(tmp_path, result["key"]).path / "error.txt").read_text()
