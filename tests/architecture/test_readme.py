"""The README: its blocks run as `.ci/run` and the tests run them, and what it says is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from hfbench import registry
from hfbench.config.load import load_study

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)


def test_python_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    position = next(i for i, (kind, text) in enumerate(BLOCKS) if kind == "python" and "HessianFree" in text)
    with torch.random.fork_rng():
        exec(BLOCKS[position][1], {})
    kind, expected = BLOCKS[position + 1]
    assert kind == ""
    assert capsys.readouterr().out == expected


def test_study_example_is_a_study(tmp_path: Path) -> None:
    (text,) = (text for kind, text in BLOCKS if kind == "toml")
    path = tmp_path / "study.toml"
    path.write_text(text)
    study = load_study(str(path))
    assert set(study.methods) == {"cg", "lsmr"}
    assert len(study.seeds) == 7


def test_ci_runs_every_shell_block() -> None:
    """By the heading that it stands under."""
    section, with_shell = "", set()
    for line in README.splitlines():
        section = line if line.startswith("## ") else section
        if line == "```sh":
            with_shell.add(section)
    run = set(re.findall(r"blocks_under '(## [^']+)'", (ROOT / ".ci/run").read_text("utf-8")))
    assert with_shell == run == {"## Run it", "## Test it", "## Ask a question", "## Add a solver"}


def test_every_built_in_part_is_in_the_table() -> None:
    for family in registry.FAMILIES:
        for name in registry.names(family):
            assert f"`{name}`" in README, f"{family} {name}"
