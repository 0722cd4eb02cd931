"""The pages of Python names show every public name with its signature and what it says of itself."""

from __future__ import annotations

import ast
import textwrap

import pytest
from sitegen import api_page, python_names

from hfbench.parts import protocols, registry


def entry(source: str, complete: bool = False) -> str:
    node = ast.parse(textwrap.dedent(source)).body[0]
    assert isinstance(node, python_names.Definition)
    return python_names.entry(node, complete)


def test_a_function_shows_every_kind_of_parameter() -> None:
    said = entry("def f(a, /, b: int, c='x', *, d=None, **e: str) -> list[int]:\n    '''What it gives.'''")
    assert said == (
        '## f\n\n```python\nf(a, /, b: int, c="x", *, d=None, **e: str) -> list[int]\n```\n\nWhat it gives.\n'
    )
    assert "*of: object, d)" in entry("def f(*of: object, d): ...")


def test_a_long_signature_has_a_line_for_each_parameter() -> None:
    names = [f"parameter_{index}" for index in range(9)]
    assert "f(\n    parameter_0,\n" in entry(f"def f({', '.join(names)}) -> None: ...")


def test_a_class_shows_how_it_is_made_and_its_public_members() -> None:
    said = entry("""
    @dataclass(frozen=True)
    class Point:
        '''A point.'''
        kind: ClassVar[str] = "plane"
        x: float
        y: float = 0.0

        @property
        def norm(self) -> float:
            '''Its length.'''

        def scaled(self, by: float) -> Point:
            '''Another one.'''

        def untold(self): ...
        def _own(self):
            '''Nobody's business.'''
    """)
    assert "Point(x: float, y: float = 0.0)\n```\n\nA point.\n" in said
    assert "### Point.norm\n\n```python\nnorm: float\n```\n\nIts length.\n" in said
    assert "### Point.scaled\n\n```python\nscaled(by: float) -> Point\n" in said
    assert "untold" not in said
    assert "_own" not in said


def test_a_class_that_is_constructed_says_what_its_constructor_says() -> None:
    assert "Lock(path: Path)\n```\n\nA lock.\n\nWaits.\n" in entry(
        "class Lock:\n    '''A lock.'''\n    def __init__(self, path: Path) -> None:\n        '''Waits.'''"
    )


def test_a_promise_is_shown_whole() -> None:
    said = entry("class State(Protocol):\n    needs: tuple[str, ...]\n    def k(self) -> int: ...", complete=True)
    assert "class State(Protocol):\n    needs: tuple[str, ...]\n```\n" in said
    assert "### State.k\n" in said


@pytest.mark.parametrize(("module", "page"), [(registry, "parts.registry"), (protocols, "parts.protocols")])
def test_no_public_name_of_a_module_is_missing(module: object, page: str) -> None:
    text = api_page.module(page)
    for name, value in vars(module).items():
        own = getattr(value, "__module__", "") == f"hfbench.{page}" and callable(value) and not name.startswith("_")
        if own and (value.__doc__ or page in api_page.COMPLETE):
            assert f"\n## {name}\n" in text, name


def test_a_name_that_is_neither_defined_nor_imported_is_said() -> None:
    with pytest.raises(ValueError, match="hfbench.parts.registry must define or import gett, but does not"):
        python_names.chosen("hfbench.parts.registry", ["gett"])
