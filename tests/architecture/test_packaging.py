"""What is installed is what is on disk, and every entry point leads to a part."""

import os
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from hfbench import registry

ROOT = Path(__file__).parents[2]
PLUGINS = ("solvers", "schedulers", "tasks", "studies")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DECLARED = {
    (family, name): target
    for family in registry.FAMILIES
    for name, target in PROJECT["project"]["entry-points"][f"hfbench.{family}s"].items()
}


def test_packages_listed_are_the_folders_on_disk() -> None:
    core = {path.parent for path in (ROOT / "hfbench").rglob("__init__.py")}  # rglob follows no links
    plugins = {path.parent for plugin in PLUGINS for path in (ROOT / plugin).rglob("__init__.py")}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in core}
    names |= {".".join(("hfbench", *folder.relative_to(ROOT).parts)) for folder in plugins}
    setuptools = PROJECT["tool"]["setuptools"]
    assert sorted(setuptools["packages"]) == sorted(names)
    assert setuptools["package-dir"] == {
        "hfbench": "hfbench",
        **{f"hfbench.{plugin}": plugin for plugin in PLUGINS},
    }


@pytest.mark.parametrize("plugin", PLUGINS)
def test_links_are_relative(plugin: str) -> None:
    link = ROOT / "hfbench" / plugin
    assert link.is_symlink()
    assert str(link.readlink()) == f"../{plugin}"
    assert link.resolve() == ROOT / plugin


def test_entry_points_installed_are_those_declared() -> None:
    installed = {
        (family, point.name): point.value
        for family in registry.FAMILIES
        for point in metadata.entry_points(group=f"hfbench.{family}s")
        if point.dist is not None and point.dist.name == "hfbench"
    }
    assert installed == DECLARED, "run `pip install -e .` again"


@pytest.mark.parametrize(("family", "name"), sorted(DECLARED))
def test_every_entry_point_is_a_documented_part_of_its_family(family: str, name: str) -> None:
    cls = registry.get(family, name)
    assert f"{cls.__module__}:{cls.__qualname__}" == DECLARED[family, name]
    assert cls.__doc__
    assert not cls.__doc__.startswith(f"{cls.__name__}("), "the docstring is the one that dataclass makes up"
    assert registry.origin(family, name) == f"hfbench {PROJECT['project']['version']}"


def test_console_script_and_shipped_files() -> None:
    assert PROJECT["project"]["scripts"] == {"hfbench": "hfbench.cli.entry:start"}
    assert PROJECT["tool"]["setuptools"]["package-data"]["hfbench.studies"] == ["*.toml", "results/*/records.parquet"]
    assert (ROOT / "hfbench" / "py.typed").exists()


@pytest.mark.slow
def test_an_installed_part_of_another_distribution_breaks_no_test(tmp_path: Path) -> None:
    info = tmp_path / "planted-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1.5\n")
    groups = [f"[hfbench.{family}s]\naaa-{family} = gone:Gone\n" for family in registry.FAMILIES]
    (info / "entry_points.txt").write_text("".join([*groups, "[hfbench.solver]\nstray = gone:Gone\n"]))
    asking = ("parts/test_source_docstrings", "commands/test_show", "config/test_source_hash", "cli/test_parts")
    tests = [str(ROOT / "tests" / f"{name}.py") for name in asking]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", *tests],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:]
