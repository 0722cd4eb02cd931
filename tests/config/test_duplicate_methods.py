"""Methods that differ in nothing but their name are named together."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tiny_study import tiny

from hfbench.config.duplicate_methods import duplicate_methods

TWIN = """
[methods.twin]
solver = "cg"
preconditioner = "martens"
scheduler = { use = "fixed", curvature = 0.25 }
"""


@pytest.mark.parametrize(
    ("extra", "said"),
    [("", []), (TWIN, ["The methods hf, twin have the same settings, so"]), (TWIN + "stream = 1", [])],
)
def test_methods_of_the_same_settings_are_named(tmp_path: Path, extra: str, said: list[str]) -> None:
    found = duplicate_methods(tiny(tmp_path, extra=extra))
    assert [sentence[: len(start)] for sentence, start in zip(found, said, strict=True)] == said
