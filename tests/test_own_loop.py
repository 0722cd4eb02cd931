"""The page on one's own loop: its Python blocks run in order and print what it says they print."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

PAGE = (Path(__file__).parents[1] / "docs" / "tutorials" / "own-loop.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_pages_blocks_print_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    printed = 0
    with torch.random.fork_rng():
        for (kind, source), (after, said) in zip(BLOCKS, [*BLOCKS[1:], ("python", "")], strict=True):
            if kind == "python":
                exec(source, names)
                assert capsys.readouterr().out == (said if after == "" else "")
                printed += after == ""
    assert printed == sum(kind == "" for kind, _ in BLOCKS) >= 6
