"""Licence, citation, change log and the commands of contributors say the same as pyproject.toml and `.ci/run`."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def test_the_citation_is_of_this_version_and_its_date() -> None:
    cited = yaml.safe_load(read("CITATION.cff"))
    version, date = re.findall(r"^## (\S+) – (\S+)$", read("CHANGELOG.md"), re.MULTILINE)[0]
    assert (cited["version"], str(cited["date-released"])) == (version, date)
    assert version == PROJECT["version"]
    assert [author["name"] for author in cited["authors"]] == [author["name"] for author in PROJECT["authors"]]


def test_the_licence_is_shipped_under_the_name_declared() -> None:
    assert PROJECT["license"] == yaml.safe_load(read("CITATION.cff"))["license"] == "MIT"
    assert PROJECT["license-files"] == ["LICENSE"]
    assert read("LICENSE").startswith("MIT License\n\nCopyright (c) 2026 the hfbench authors\n")


def test_ci_and_hooks_run_what_the_clone_has() -> None:
    steps = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]["run"]["steps"]
    assert steps[0]["uses"].startswith("actions/checkout@")
    assert steps[-1] == {"run": ".ci/run"}
    (local,) = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert local["repo"] == "local"
    assert [hook["id"] for hook in local["hooks"]] == ["ruff-check", "ruff-format", "mypy"]
    assert {hook["language"] for hook in local["hooks"]} == {"system"}


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_lists_every_command_and_each_leads_to_one() -> None:
    said = subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    listed = [line.split()[1] for line in said.splitlines()]
    assert listed == ["help", "test", "fast", "lint", "types", "docs", "ci"]
    for target in listed:
        plan = subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        assert plan.strip(), target
