"""Objects by their dotted path."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

from hfbench.errors import ConfigError
from hfbench.parts.named_objects import loaded_class, named_object


def test_an_object_is_found_by_its_path() -> None:
    assert named_object("math.pi", "a number", callable) is math.pi
    assert named_object("collections.abc.Mapping", "a class", callable).__name__ == "Mapping"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("math.tao", r"must be importable, but math has no 'tao' \(did you mean 'tan'\?\)"),
        ("nowhere.at.all", "'nowhere.at.all' must be importable, but: No module named 'nowhere'. Install it."),
        *((path, "must be the dotted path of a number") for path in ("pi", "", "a b.c", "../x.y", "math.", 3, None)),
        ("x" * 5000, r"but got 'x+\.\.\.x+'\.$"),
    ],
)
def test_what_is_no_object_is_refused(path: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        named_object(path, "a number", callable)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise SystemExit(0)", r"'odd_for_a_test' must be importable, but raises SystemExit: 0 \("),
        ("def", r"but raises SyntaxError: invalid syntax \("),
        ("1 / 0", r"but raises ZeroDivisionError: division by zero \("),
        ("raise ImportError('a\\x1b[2J')", r"must be importable, but: a \[2J\. Install it"),
    ],
)
def test_a_module_that_cannot_be_imported_is_refused(
    code: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd_for_a_test.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=words):
        named_object("odd_for_a_test.Odd", "a number", callable)


@pytest.mark.parametrize("module", ["this", "antigravity", "idlelib.idle"])
def test_no_module_of_python_itself_is_imported(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(ConfigError, match="must be in a package or a plugin file, but"):
        named_object(f"{module}.Odd", "a number", callable)
    assert module not in sys.modules


def test_only_classes_of_imported_modules_are_found_for_a_state() -> None:
    assert loaded_class("collections", "OrderedDict").__name__ == "OrderedDict"  # type: ignore[union-attr]
    assert [loaded_class(*name) for name in (("math", "pi"), ("nowhere", "X"), ("math", ""), ("math", "a.b"))] == [
        None
    ] * 4
