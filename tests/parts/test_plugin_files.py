"""Plugin files: found from anywhere, run once, part of the run key; a broken one is skipped whole."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.plugin_files import ADD, LINE, METHOD, PART, PLUGIN, fresh, study_with
from support.tiny_study import attempt, specs, trace_of

from hfbench import registry
from hfbench.config.load import load_study
from hfbench.config.study import Study, to_dict
from hfbench.config.study_runs import runs_of
from hfbench.config.to_toml import toml
from hfbench.errors import ConfigError, DuplicatePartError, UnknownPartError
from hfbench.execution.pool import run_all
from hfbench.parts import plugin_files
from hfbench.records.results_folder import ResultsFolder
from hfbench.runs.attempt import identity

pytestmark = pytest.mark.usefixtures("forgotten")

Write = Callable[..., Path]


def by_key(study: Study) -> dict[str, Any]:
    """The runs of the plugin's method."""
    return {spec.key(): spec for spec in runs_of(study) if spec.method.name == "steepest"}


# ---------------------------------------------------------------- the ways in


def test_however_a_part_is_made_known_its_run_is_the_same(
    write: Write, tmp_path: Path, install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def traced(place: str, *plugin_files: Path) -> tuple[str, str]:
        spec = specs(study_with(tmp_path / place, plugin_files=plugin_files))["steepest", 0]
        assert attempt(spec, tmp_path / place)["outcome"] == "reached"
        return spec.key(), trace_of(spec, tmp_path / place).to_json()

    site = install("acme", "[hfbench.solvers]\nsteepest = acme_steepest:Steepest\n", acme_steepest=PART)
    installed = traced("installed")
    assert registry.origin("solver", "steepest") == "acme 1.5"

    shutil.rmtree(site / "acme-1.5.dist-info")
    monkeypatch.syspath_prepend(tmp_path)  # what is installed is read anew
    with pytest.raises(UnknownPartError, match="no solver 'steepest'"):
        registry.get("solver", "steepest")
    file = write("plugin.py", "from acme_steepest import Steepest\nfrom hfbench import registry" + ADD)
    assert traced("file", file) == installed

    registry.forget()
    import acme_steepest  # type: ignore[import-not-found]

    registry.add("solver", "steepest", acme_steepest.Steepest)
    assert traced("added") == installed


@pytest.mark.slow
def test_workers_load_a_plugin_file_by_themselves_and_once(write: Write, tmp_path: Path) -> None:
    log = tmp_path / "loaded"
    noting = f"import os\nwith open({str(log)!r}, 'a') as log:\n    print(os.getpid(), file=log)\n"
    study = study_with(tmp_path, METHOD + "[on.tiny-curves]\nseeds = 4\n", (write("plugin.py", PLUGIN + noting),))
    runs = by_key(study)
    for jobs in (1, 2):
        results = list(run_all(runs, ResultsFolder(tmp_path / str(jobs), "tiny"), jobs))
        assert {one["outcome"] for one in results} == {"reached"}
    for spec in runs.values():
        assert trace_of(spec, tmp_path / "1").equals(trace_of(spec, tmp_path / "2"))
    loaded = log.read_text().split()
    assert len(loaded) == len(set(loaded)) > 1
    assert str(os.getpid()) in loaded


def test_files_of_a_study_are_found_from_its_folder(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write("study/parts/plugin.py")
    monkeypatch.chdir(write("elsewhere/plugin.py").parent)
    named = METHOD + "[plugins]\nfiles = ['parts/plugin.py']\n"
    study = study_with(tmp_path / "study", named)
    assert study.plugins == (str(file),)
    assert load_study("../study/tiny.toml").plugins == study.plugins
    assert json.loads(json.dumps(to_dict(study)))["plugins"] == [str(file)]
    again = write("again/again.toml", toml(study, tmp_path / "again"))
    assert 'files = [\n    "../study/parts/plugin.py",\n]' in again.read_text()
    assert load_study(str(again)).plugins == study.plugins
    assert load_study(str(again)).methods == study.methods


def test_a_file_named_twice_is_loaded_once(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write("plugin.py")
    (tmp_path / "link.py").symlink_to(file)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    spellings = [file, Path("plugin.py"), Path("./study/../plugin.py"), Path("link.py"), Path("~/plugin.py")]
    named = METHOD + "[plugins]\nfiles = ['../plugin.py', '~/link.py']\n"
    study = study_with(tmp_path / "study", named, tuple(spellings))
    assert study.plugins == (str(file),)
    assert registry.origin("solver", "steepest") == str(file)
    assert registry.skipped == {}


def test_files_of_one_name_in_two_folders_are_two_plugins(write: Write) -> None:
    for name in ("one", "two"):
        plugin_files.load_plugin(write(f"{name}/plugin.py", PLUGIN.replace("'steepest'", f"'steepest-{name}'")))
    assert registry.skipped == {}
    one, two = (registry.get("solver", f"steepest-{name}") for name in ("one", "two"))
    assert one is not two
    assert one.__module__ != two.__module__
    assert one.__module__.isidentifier()


def test_odd_file_names_are_fine(write: Write) -> None:
    file = plugin_files.load_plugin(write("my plug-in.v2.py"))
    assert registry.origin("solver", "steepest") == str(file)
    assert plugin_files.module_name(file).isidentifier()


# ---------------------------------------------------------------- the run key


def test_the_key_is_of_what_the_file_says_not_of_where_it_is(write: Write, tmp_path: Path) -> None:
    def key(file: Path) -> str:
        fresh()
        return specs(study_with(tmp_path, plugin_files=(file,)))["steepest", 0].key()

    first = key(write("plugin.py"))
    assert key(write("moved/other_name.py")) == first
    # Of the same size, and written in the same second: Python's bytecode would not be told apart.
    changed = key(write("plugin.py", PLUGIN.replace("= 1.0", "= 0.5")))
    assert changed != first
    assert registry.build("solver", "steepest").share == 0.5
    assert not list(tmp_path.rglob("__pycache__"))
    assert key(write("plugin.py")) == first


def test_a_changed_file_takes_the_place_of_what_it_was(write: Write) -> None:
    plugin_files.load_plugin(write("plugin.py"))
    plugin_files.load_plugin(write("plugin.py", PLUGIN.replace("= 1.0", "= 0.5")))
    assert registry.skipped == {}
    assert registry.build("solver", "steepest").share == 0.5


def test_a_result_says_whose_the_parts_were(write: Write, tmp_path: Path, install: Callable[..., Path]) -> None:
    def versions(place: str, *plugin_files: Path) -> dict[str, str]:
        spec = specs(study_with(tmp_path / place, plugin_files=plugin_files))["steepest", 0]
        return dict(identity(spec, "key", "tiny")["versions"])

    file = write("plugin.py")
    added = versions("added", file)
    assert list(added) == ["python", "hfbench", "torch", "numpy", "plugin.py"]
    assert hashlib.sha256(file.read_bytes()).hexdigest().startswith(added["plugin.py"])
    fresh()
    install("acme", "[hfbench.solvers]\nsteepest = acme_steepest:Steepest\n", acme_steepest=PART)
    assert versions("installed")["acme"] == "1.5"


# ---------------------------------------------------------------- broken ones

BROKEN = {
    "syntax": (PART + "x = (", rf"SyntaxError: '\(' was never closed \(FILE:{LINE + 1}\)"),
    "raises": (PART + "1 / 0", rf"ZeroDivisionError: division by zero \(FILE:{LINE + 1}\)"),
    "import": ("import not_installed", r"ModuleNotFoundError: No module named 'not_installed' \(FILE:1\)"),
    "exits": ("import sys\nsys.exit(4)", r"SystemExit: 4 \(FILE:2\)"),
    "empty": (
        "",
        r"ConfigError: it adds no part: call hfbench\.registry\.add\(family, name, class\) in plugin\.py, .*",
    ),
    "silent": (PART, r"ConfigError: it adds no part: .*"),
    "late": (PLUGIN + "1 / 0", rf"ZeroDivisionError: division by zero \(FILE:{LINE + 4}\)"),
    "spaces": (
        PLUGIN.replace("'steepest'", "'steepest descent'"),
        r"ConfigError: solver: a name must be .* \(FILE:\d+\)",
    ),
    "family": (PLUGIN.replace("'solver'", "'solvers'"), r"UnknownPartError: no family 'solvers' .* \(FILE:\d+\)"),
    "method": (PLUGIN.replace("iterates", "iterate"), r"HfbenchError: solver 'steepest' must have .* \(FILE:\d+\)"),
    "default": (PLUGIN.replace("= 1.0", "= 1.5"), r"ConfigError: .* the default of share: must lie in .* \(FILE:\d+\)"),
    "lines": ("raise ValueError('one\\n  two')", r"ValueError: one two \(FILE:1\)"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_file_leaves_nothing_and_its_traceback(write: Write, fault: str) -> None:
    text, why = BROKEN[fault]
    modules = set(sys.modules)
    file = plugin_files.load_plugin(write("plugin.py", text))
    assert registry.added() == {}
    assert {one for one in set(sys.modules) - modules if "plugin" in one} == set()
    skipped = registry.skipped[str(file)]
    assert re.fullmatch(why.replace("FILE", re.escape(str(file))), skipped.why)
    assert skipped.traceback.splitlines()[0].startswith(("Traceback", "  File", "hfbench.errors.ConfigError: it adds"))
    assert "importlib" not in skipped.traceback
    assert "hfbench/parts/plugin_files.py" not in skipped.traceback
    assert all(f'"{file}"' in line for line in skipped.traceback.splitlines() if line.startswith("  File"))


def test_a_broken_file_that_was_mended_is_loaded(write: Write) -> None:
    file = plugin_files.load_plugin(write("plugin.py", PLUGIN + "1 / 0"))
    assert list(registry.skipped) == [str(file)]
    plugin_files.load_plugin(write("plugin.py"))
    assert registry.skipped == {}
    assert registry.names("solver").count("steepest") == 1


def test_an_interrupt_while_a_file_is_loaded_is_one(write: Write) -> None:
    with pytest.raises(KeyboardInterrupt):
        plugin_files.load_plugin(write("plugin.py", PLUGIN + "raise KeyboardInterrupt"))
    assert registry.added() == {}
    assert plugin_files.module_name(write("plugin.py")) not in sys.modules


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("gone.py", r"must name a Python file that adds parts, but gone\.py does not exist\."),
        ("folder", r"must name a Python file that adds parts, but folder is a folder; name the \.py file in it\."),
        ("pipe.py", r"must name a Python file that adds parts, but pipe\.py is a pipe, a socket or a device\."),
        ("x" * 5000, r"must name a Python file that adds parts, but x{200} does not exist\."),
        ("notes.txt", r"must name a Python file \(\.py\) that adds parts, but got notes\.txt\."),
        ("~no-such-user/plugin.py", r"must name a Python file that adds parts, but ~no-such-user/plugin\.py does not"),
        ("", r"must name a Python file that adds parts, but \S* ?is a folder"),
    ],
)
def test_what_is_no_python_file_is_refused(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, message: str
) -> None:
    write("notes.txt")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.py")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"^--plugin: {message}"):
        plugin_files.load_plugin(given)
    named = re.escape(str(tmp_path / "tiny.toml")) + r": plugins\.files\[0\]: must name a Python file"
    with pytest.raises(ConfigError, match=f"^{named}"):
        study_with(tmp_path, METHOD + f"[plugins]\nfiles = ['{given}']\n")


@pytest.mark.parametrize("table", ["files = 'a.py'", "files = [1]", "file = ['a.py']"])
def test_the_table_of_a_study_is_checked(tmp_path: Path, table: str) -> None:
    with pytest.raises(ConfigError, match=r"tiny\.toml: plugins\.files?(\[0\])?: (must be a|unknown key)"):
        study_with(tmp_path, f"[plugins]\n{table}\n")


def test_a_name_that_is_taken_is_an_error_that_names_both_owners(write: Write, tmp_path: Path) -> None:
    file = write("plugin.py", PLUGIN.replace("'steepest'", "'cg'"))
    with pytest.raises(
        DuplicatePartError, match=rf"^--plugin: two .* 'cg': hfbench \d\S+ and {re.escape(str(file))}\. "
    ):
        plugin_files.load_plugin(file)
    with pytest.raises(
        DuplicatePartError, match=r"tiny\.toml: plugins\.files\[0\]: two parts claim the solver name 'cg'"
    ):
        study_with(tmp_path, "[plugins]\nfiles = ['plugin.py']\n")
    first, second = write("one.py"), write("two.py")
    plugin_files.load_plugin(first)
    with pytest.raises(DuplicatePartError, match=f"'steepest': {re.escape(str(first))} and {re.escape(str(second))}"):
        plugin_files.load_plugin(second)
    assert list(registry.added()) == [("solver", "steepest")]
    assert registry.skipped == {}
