"""What is read of a class from its source alone: nothing of it may run."""

import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from hfbench import registry
from hfbench.errors import HfbenchError
from hfbench.parts import source_docstrings
from hfbench.parts.hyperparameters import first_line

FILES = {
    "plain.py": """
        raise SystemExit("imported")
        class One:
            '''First line.

            Second.
            '''
        class Bare: ...
        class Outer:
            class Inner: ...
        Made = type("Made", (), {})
        if True:
            class Nested: ...
        from elsewhere import Moved as Here
        from elsewhere import Gone
        import elsewhere as module
        path = "\\d"  # warned of when it is compiled
    """,
    "elsewhere.py": "class Moved:\n    'Came from elsewhere.'\n",
    "loop_a.py": "from loop_b import Round",
    "loop_b.py": "from loop_a import Round",
    "star.py": "from elsewhere import *",
    "lazy.py": "def __getattr__(name): ...",
    "broken.py": "x = 1\ny = (\n",
    "latin.py": b"x = '\xe9'\n",
    "null.py": b"x = 1\0",
    "pack/__init__.py": "from .inner.deep import Deep\n1 / 0\n",
    "pack/inner/__init__.py": "1 / 0",
    "pack/inner/deep.py": "from ..base import Base\nclass Deep(Base):\n    '''\n    Deep down.\n    '''\n",
    "pack/base.py": "class Base: 'The base.'",
    "space_of/names/part.py": "class Part: 'In a namespace.'",
    "space_of/part.py": "class Part: 'In a namespace.'",
}


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("module", "name", "line"),
    [
        ("plain", "One", "First line."),
        ("plain", "Bare", ""),
        ("plain", "Outer.Inner", ""),
        ("plain", "Made", ""),
        ("plain", "Nested", ""),
        ("plain", "Here", "Came from elsewhere."),
        ("pack", "Deep", "Deep down."),
        ("pack.inner.deep", "Deep", "Deep down."),
        ("pack.inner.deep", "Base", "The base."),
        ("space_of.part", "Part", "In a namespace."),
        ("space_of.names.part", "Part", ""),  # Python itself looks below a namespace only once it is imported
        ("star", "Moved", ""),
        ("lazy", "Anything", ""),
        ("loop_a", "Round", ""),
        ("sys", "Anything", ""),
        ("_bisect", "Anything", ""),
    ],
)
def test_the_first_line_is_read_without_importing(module: str, name: str, line: str) -> None:
    before = set(sys.modules)
    assert source_docstrings.first_line_in_source(module, name) == line
    assert set(sys.modules) <= before


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        ("nowhere", "One", r"no module named 'nowhere'\. Is it listed under py-modules .*, and installed again\?"),
        ("pack.nowhere", "One", r"no module named 'pack\.nowhere'\. Is it listed .*"),
        ("plain.nowhere", "One", r"no module named 'plain\.nowhere': plain is no package\."),
        ("plain", "Absent", r"\S+plain\.py defines no class Absent\."),
        ("plain", "Gone", r"\S+elsewhere\.py defines no class Gone\."),
        ("pack", "Absent", r"\S+__init__\.py defines no class Absent\."),
        ("broken", "One", r"SyntaxError: '\(' was never closed \(\S+broken\.py:2\)\."),
        ("latin", "One", r"SyntaxError: \(unicode error\) .*\."),
        ("null", "One", r"(ValueError|SyntaxError): source code .* null bytes.*\."),
    ],
)
def test_what_cannot_be_imported_is_told_from_the_source(module: str, name: str, message: str) -> None:
    before = set(sys.modules)
    with pytest.raises(HfbenchError, match=f"^{message}$") as caught:
        source_docstrings.first_line_in_source(module, name)
    assert caught.value.__cause__ is None
    assert set(sys.modules) <= before


def test_a_finder_that_fails_makes_no_part_unlistable(monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        def find_spec(self, name: str, path: object, target: object = None) -> None:
            raise RuntimeError("planted")

    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    assert source_docstrings.first_line_in_source("plain", "One") == ""


def test_a_module_in_an_archive_is_left_to_the_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "packed.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("packed.py", "class Part: 'Packed.'")
    monkeypatch.syspath_prepend(archive)
    assert source_docstrings.first_line_in_source("packed", "Part") == ""


def test_built_in_parts_are_read_as_they_are_imported() -> None:
    for family in registry.FAMILIES:
        for name in registry.names(family):
            assert registry.one_line(family, name) == first_line(registry.get(family, name)) != ""
