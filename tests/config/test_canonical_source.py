"""Canonical text of source: what runs, in the same words in every version of Python."""

from __future__ import annotations

import ast
import hashlib

import pytest

from hfbench.config.canonical_source import canonical_text

# Syntax of Python 3.11, with what versions write or parse differently: f-strings, strings beyond ASCII, big integers.
SAMPLE = r'''
"""A module."""
from __future__ import annotations
import a.b as c, d
from . import e
from ..f import *
global_one: int
X: float = 1e400; Y = Z = (1_000, 0x_ff, 1j, b"\0", ..., None, True, 0.1, "é\u0378\U0001fae8\ud800")
del X, Y[0], Z.z
def function(a, /, b: int = 2, *rest, c, d=None, **more) -> "list[int]":
    """A docstring."""
    nonlocal_one = lambda x, *y, z=3: (yield)
    return [i async for i in a if i] or {**more, "k": not b} or {i for i in {1, 2}} or (-a[1:2, ::3] @ b // c ** d)
async def other():
    async with a as b, c: await d
    async for e in f: break
    else: pass
@decorated(1, *args, k=2, **kw)
class Klass(Base, metaclass=Meta):
    "A docstring."
    field = f"{a!r:>{width}}{b:%Y}{c=}" f"text {{}} {d['k']}" "more" u"yet"
    def method(self):
        global g
        if (n := len(a)) > 1: raise E from n
        elif a is not b in c: assert a < b <= c, "why"
        while True: continue
        for i, *j in k: i += 1
        try: pass
        except* (A, B) as error: pass
        else: pass
        finally: pass
        with (a as b, c): pass
        match a:
            case {"k": [1, *_, None], **rest} | Klass(1, x=-1j) if b: pass
            case "s" | (x.y as z): pass
            case _: return
'''
IN_EVERY_VERSION = "21fda87b51ce5138"


def text(source: str) -> str:
    return canonical_text(ast.parse(source).body)


def test_it_is_the_same_in_every_version_of_python() -> None:
    """Another digest makes every run again: this one is a promise to those who have records."""
    assert hashlib.sha256(text(SAMPLE).encode()).hexdigest()[:16] == IN_EVERY_VERSION


@pytest.mark.parametrize("value", [None, []])
def test_fields_that_a_later_version_adds_are_left_out_while_they_are_empty(value: object) -> None:
    (function,) = ast.parse("def f(): return 1").body
    later = type("FunctionDef", (ast.FunctionDef,), {"_fields": ("added", *ast.FunctionDef._fields)})
    held = {name: getattr(function, name) for name in ast.FunctionDef._fields if hasattr(function, name)}
    assert canonical_text([later(**held, added=value)]) == canonical_text([function])
    assert canonical_text([later(**held, added=[ast.Pass()])]) != canonical_text([function])


def test_the_texts_of_an_f_string_are_joined_and_empty_ones_left_out() -> None:
    (statement,) = ast.parse("f'ab{x}'").body
    assert isinstance(statement, ast.Expr)
    pieces = [ast.Constant("a"), ast.Constant("b"), ast.FormattedValue(ast.Name("x", ast.Load()), -1), ast.Constant("")]
    assert canonical_text([ast.Expr(ast.JoinedStr(pieces))]) == canonical_text([statement])


@pytest.mark.parametrize(
    "other",
    [
        "def f(a,b=2):\n\treturn (a)+b",
        '"""A module."""\ndef f(a, b=2):\n    """A docstring."""\n    # a comment\n    return a + b  # another',
        "def f(a, b=0x2):\n    'A docstring.'\n    return a + b\n    'and a remark'",
        "def f(\n    a,\n    b=2,\n):\n    return a \\\n        + b\n\n",
    ],
)
def test_layout_comments_and_docstrings_do_not_count(other: str) -> None:
    assert text(other) == text("def f(a, b=2):\n    return a + b\n")


def test_all_that_runs_counts() -> None:
    sources = [
        *("x = 1", "x = 1.0", "x = True", "x = '1'", "x = b'1'", "x = 1j", "x = ...", "x = None", "x = '...'", "x = x"),
        *("y = 1", "x: int = 1", "x += 1", "x = [1]", "x = (1,)", "x = {1}", "x = [1, []]", "x = [[1]]", "f(x)", "'x'"),
        *("f(x=x)", "f(*x)", "f(**x)", "f'{x}'", "f'{x!r}'", "f'{x:3}'", "f'x'", "x = 'f'", "del x", "import x"),
        *("from x import x", "from .x import x", "import x as y", "x.y", "x[y]", "x = 10**5000", f"x = {10**4000}"),
        *("def f(): pass", "def f(): ...", "async def f(): pass", "def f() -> x: pass", "class f: pass", "f = 1, 2"),
    ]
    assert len({text(source) for source in sources}) == len(sources)


def test_integers_beyond_the_digits_that_python_writes() -> None:
    assert text(f"x = 0x{'f' * 5000}") != text(f"x = 0x{'f' * 4999}e")


def test_expressions_nested_deeper_than_python_calls() -> None:
    nodes: ast.expr = ast.Name("x", ast.Load())
    for _ in range(5000):
        nodes = ast.UnaryOp(ast.Not(), nodes)
    assert canonical_text([ast.Expr(nodes)]).count("UnaryOp") == 5000
