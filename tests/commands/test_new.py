"""`hfbench new`: the package works as generated, for every family; an invalid name leaves nothing."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from hfbench import registry
from hfbench.commands.check import outcomes_of
from hfbench.commands.new import FRAMES, write_package
from hfbench.config.load import load_study
from hfbench.errors import ConfigError, DuplicatePartError
from hfbench.parts.hyperparameters import first_line, hyperparameters

FAMILIES = list(FRAMES)
CHEAP = {  # checks that the part must be right for, of little cost
    "solver": ["test_counts_its_products"],
    "preconditioner": ["test_is_linear"],
    "scheduler": ["test_gives_reasons"],
    "task": ["test_shapes_and_ranges"],
}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which packages are made."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `pip install -e` does to a package, as far as finding its parts goes."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / f"{folder.name.replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
             for group, points in project["entry-points"].items()]  # fmt: skip
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.syspath_prepend(str(folder / project_sources(folder)))


def project_sources(folder: Path) -> str:
    """The folder of the modules, below the package's."""
    setuptools: dict[str, dict[str, str]] = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]["setuptools"]
    return setuptools["package-dir"][""]


@pytest.mark.slow
def test_its_module_is_found_from_the_folder_above_it(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", "77")
    site, names = tmp_path / "site", [f"fresh{family}" for family in FAMILIES]
    site.mkdir()
    for family, name in zip(FAMILIES, names, strict=True):
        write_package(family, name, tmp_path)
        build = "import sys; from setuptools.build_meta import build_editable; print(build_editable(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", build, site], cwd=tmp_path / name, check=True, capture_output=True)
    for wheel in site.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(site)
    load = "import site, sys; site.addsitedir(sys.argv[1]); from hfbench import registry\n" + "".join(
        f"print(registry.get({family!r}, {name!r}).__name__)\n" for family, name in zip(FAMILIES, names, strict=True)
    )
    ran = subprocess.run([sys.executable, "-c", load, site], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.stdout.split() == [name.capitalize() for name in names], ran.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_its_tests_pass_as_generated(family: str, tmp_path: Path) -> None:
    write_package(family, "brand-new", tmp_path)
    folder = tmp_path / "brand-new"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-rs"],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert "not installed yet: run python -m pip install -e ." in ran.stdout  # every contract's check was run


@pytest.mark.parametrize("family", FAMILIES)
def test_the_package_is_found_and_its_study_loads(
    family: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"scaffolded-{family}"
    write_package(family, name)
    install(workplace / name, monkeypatch)
    assert registry.origin(family, name) == f"{name} 0.1.0"
    cls = registry.get(family, name)
    assert cls.__name__ == f"Scaffolded{family.capitalize()}"
    assert first_line(cls) == registry.one_line(family, name)
    assert all(one.meaning for one in hyperparameters(cls))
    study = load_study(str(workplace / name / "study.toml"))
    used = {settings["use"] for method in study.methods.values() for _, settings in method.parts()} | set(study.tasks)
    assert name in used
    assert len(study.methods) == 2


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_is_filled_in(family: str, tmp_path: Path) -> None:
    said = write_package(family, "filled", tmp_path).replace(str(tmp_path), "/home/someone")
    folder = tmp_path / "filled"
    texts = {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}
    assert set(texts) == {"pyproject.toml", "README.md", "src/filled.py", "test_filled.py", "study.toml"}
    for name, text in texts.items():
        assert "$" not in text, name
        if name.endswith(".py"):
            ast.parse(text)
            assert max(map(len, text.splitlines())) <= 120
    assert all(name in said for name in ("src/filled.py", "test_filled.py", "study.toml", "hfbench check filled"))
    assert max(map(len, said.splitlines()[1:])) <= 80


@pytest.mark.parametrize("name", ["cr", "a-name-of-some-length-and-then-more"])
def test_comments_line_up(name: str, tmp_path: Path) -> None:
    write_package("solver", name, tmp_path)
    for file in ("README.md", "study.toml"):
        lines = (tmp_path / name / file).read_text().splitlines()
        assert len({line.index("  # ") for line in lines if "  # " in line}) == 1, file


@pytest.mark.parametrize(
    ("family", "name", "message"),
    [
        ("slover", "x", r"^FAMILY: must be one of solver, .*'slover' \(did you mean 'solver'\?\)"),
        ("rule", "x", r"^FAMILY: must be one of solver, preconditioner, scheduler, task, but got 'rule'"),
        ("solver", "3fast", "^NAME: must be small letters, digits and -, a letter first, such as my-solver, but got"),
        ("solver", "FastSolver", "such as fast-solver, but got 'FastSolver'"),
        ("solver", "my solver", "such as my-solver, but got 'my solver'"),
        ("solver", "../up", "a letter first"),
        ("solver", "", "a letter first"),
        ("solver", "my_solver", "such as my-solver, but got 'my_solver'"),
        ("solver", "x" * 65, "^NAME: must have at most 64 characters, but has 65"),
        ("solver", "conftest", "^NAME: there is a module conftest already"),
        ("solver", "class", "^NAME: must not be a keyword of Python, but got 'class'"),
        ("solver", "json", "^NAME: there is a module json already, which 'json' would hide"),
        ("solver", "torch", "^NAME: there is a module torch already"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(family: str, name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        write_package(family, name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_taken_name_names_its_owner(tmp_path: Path) -> None:
    with pytest.raises(DuplicatePartError, match=r"^NAME: there is a solver 'lsmr' already, of hfbench \d"):
        write_package("solver", "lsmr", tmp_path)


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work.txt").write_text("years of it")
    with pytest.raises(ConfigError, match=r"mine exists already; choose another name, or another folder by --into"):
        write_package("solver", "mine", tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "work.txt"]
    with pytest.raises(ConfigError, match=r"^--into: must name a folder that exists, but got .*gone"):
        write_package("solver", "mine", tmp_path / "gone")


def test_families_may_be_in_the_plural(tmp_path: Path) -> None:
    write_package("solvers", "plural", tmp_path)
    assert (tmp_path / "plural" / "src" / "plural.py").exists()


@pytest.mark.parametrize(
    ("family", "name"),
    [
        *(("solver", "state"), ("solver", "breakdown"), ("task", "split"), ("task", "task-data")),
        *(("scheduler", "batch-plan"), ("scheduler", "doubling"), ("preconditioner", "scaling")),
    ],
)
def test_a_name_that_the_template_uses_for_something_else_works_too(
    family: str, name: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(family, name)
    install(workplace / name, monkeypatch)
    cls = registry.get(family, name)
    assert cls.__name__.endswith(family.capitalize())
    kinds = [kind for checks in CHEAP[family] for kind in outcomes_of(family, cls, checks=[checks])]
    assert [one.result for one in kinds] == ["held"] * len(kinds)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*of: object, **to: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(ConfigError, match=r"^--into: .* cannot be written to: No space left on device\.$"):
        write_package("solver", "unwritten", tmp_path)
    assert list(tmp_path.iterdir()) == []
