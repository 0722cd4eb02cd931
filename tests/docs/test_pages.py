"""What the pages show is true: Python runs and prints that, studies load, commands and their options exist."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
import typer
from support.blocks import Block, blocks, matches, pages

from hfbench import registry
from hfbench.cli.main import app
from hfbench.config.load import load_study
from hfbench.errors import HfbenchError

ROOT = Path(__file__).parents[2]
PAGES = {**pages(), "README.md": (ROOT / "README.md").read_text("utf-8")}
QUICK = (["list"], ["show"], ["data", "where"])  # commands that only print


def with_blocks(kind: str) -> list[str]:
    return [name for name, page in PAGES.items() if any(one.kind == kind for one in blocks(page))]


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_store: None) -> Path:
    """A folder that looks like a clone of the repository as far as the pages read from it."""
    (tmp_path / "studies").symlink_to(ROOT / "studies")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _own_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one page adds is not known to the next."""
    monkeypatch.setattr(registry, "_added", {})


def write_titled(page: str, folder: Path) -> None:
    """The blocks of a page that are files."""
    for block in blocks(PAGES[page]):
        if block.title:
            (folder / block.title).write_text(block.text, "utf-8")


# ---------------------------------------------------------------- Python


@contextlib.contextmanager
def namespace(name: str) -> Iterator[dict[str, Any]]:
    """One that classes defined in it find themselves in."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    try:
        yield module.__dict__
    finally:
        del sys.modules[name]


@pytest.mark.parametrize("page", [name for name in with_blocks("python") if name != "README.md"])
def test_python_blocks_print_what_the_page_says(page: str, clone: Path) -> None:
    with namespace("page") as names, torch.random.fork_rng():
        for block in blocks(PAGES[page]):
            if block.kind == "python" and not block.is_left_alone:
                printed = run(block, names, page)
                assert block.expected is None or matches(block.expected, printed), printed


def run(block: Block, names: dict[str, Any], page: str) -> str:
    """What the block prints."""
    if block.title:
        Path(block.title).write_text(block.text, "utf-8")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block.text, page, "exec"), names)
    return printed.getvalue()


# ---------------------------------------------------------------- study files


@pytest.mark.parametrize("page", [name for name in with_blocks("toml") if name != "README.md"])
def test_studies_load(page: str, tmp_path: Path) -> None:
    write_titled(page, tmp_path)
    last: dict[str, Any] = {}
    for block in blocks(PAGES[page]):
        if block.kind != "toml" or block.is_left_alone:
            continue
        tables = tomllib.loads(block.text)
        if "project" in tables:
            continue  # of a pyproject.toml
        if "study" in tables:
            last = tables
        else:
            assert block.note == "adds to the study above", f"not a study, and not marked: {block.text}"
            tables = merged(last, tables)
        path = tmp_path / "study.toml"
        path.write_text(tomli_w.dumps(tables), "utf-8")
        assert load_study(str(path)).methods


def merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    both = {key: merged(base[key], value) for key, value in more.items() if isinstance(base.get(key), dict)}
    return {**base, **more, **both}


# ---------------------------------------------------------------- commands


def commands(page: str) -> Iterator[tuple[list[str], Block]]:
    for block in blocks(PAGES[page]):
        if block.kind == "sh" and not block.is_left_alone:
            for line in block.text.replace("\\\n", " ").splitlines():
                for part in line.split("&&"):
                    words = shlex.split(part, comments=True)
                    if words and words[0].rpartition("/")[2] == "hfbench":
                        yield words[1:], block


@pytest.mark.parametrize("page", with_blocks("sh"))
def test_commands_and_their_options_exist(page: str) -> None:
    for words, _ in commands(page):
        assert parsed(typer.main.get_command(app), words) in words


def parsed(command: Any, words: list[str]) -> str:
    """The name of the command, parsed as the command line would. Raises typer's usage error for what is unknown."""
    below = getattr(command, "commands", None)
    if below is None:
        return str(command.make_context(command.name, list(words)).command.name)
    assert words, f"{command.name} needs a command"
    assert words[0] in below, f"no command {words[0]!r} in {sorted(below)}"
    return parsed(below[words[0]], words[1:])


def test_a_wrong_option_would_be_noticed() -> None:
    command = typer.main.get_command(app)
    with pytest.raises(AssertionError, match="no command 'rum'"):
        parsed(command, ["rum", "quickstart"])
    with pytest.raises(typer.BadParameter.__mro__[1]):
        parsed(command, ["run", "quickstart", "--seed", "3"])


@pytest.mark.parametrize("page", with_blocks("sh"))
def test_quick_commands_print_what_the_page_says(page: str, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    write_titled(page, clone)
    for words, block in commands(page):
        if not any(words[: len(quick)] == quick for quick in QUICK):
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            try:
                status = app(words, prog_name="hfbench", standalone_mode=False) or 0
            except HfbenchError as error:
                pytest.fail(f"hfbench {' '.join(words)}: {error}")
        assert status == 0
        assert block.expected is None or matches(block.expected, printed.getvalue()), printed.getvalue()


def test_the_folder_for_another_machine_holds_every_file_that_tasks_read() -> None:
    page = PAGES["howto/offline-data.md"]
    read = {file.path for name in registry.names("task") for file in registry.get("task", name).files}
    assert set(re.findall(r"^  (\w+/\S+)", page, re.MULTILINE)) == read
