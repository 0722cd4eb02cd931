"""Canonical text of parsed Python source: its code, without layout, comments and docstrings.

The text is the same in every version of Python that can parse the source. `ast.dump` and `ast.unparse` are not: they
write fields that only newer versions have, and strings by the Unicode tables of the interpreter.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

DERIVED = {"ctx", "kind", "type_comment", "type_ignores"}  # fields that follow from the others, or mean nothing


def canonical_text(nodes: Iterable[ast.AST]) -> str:
    """The nodes in order, as JSON in ASCII."""
    return json.dumps(list(_tokens(list(nodes))), separators=(",", ":"))


def is_remark(node: Any) -> bool:
    """True for a string that stands alone: a docstring, or another text without effect."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _tokens(nodes: list[ast.AST]) -> Iterator[Any]:
    """From the outside in: of a node its type and fields, of a list its length, of a constant its value."""
    waiting: list[Any] = [_without_remarks(nodes)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, ast.AST):
            fields = _fields(value)
            yield [type(value).__name__, *fields]
            waiting += reversed(fields.values())
        elif isinstance(value, list):
            yield [len(value)]
            waiting += reversed(value)
        else:
            yield _written(value)


def _written(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return ["int", f"{value:x}"]  # in decimal, Python limits the digits
    return [type(value).__name__, repr(value)] if isinstance(value, bytes | complex | type(...)) else value


def _fields(node: ast.AST) -> dict[str, Any]:
    """The fields that have a value, since newer versions of Python add empty ones, by name."""
    held = {name: getattr(node, name, None) for name in _named(type(node)._fields)}
    if isinstance(node, ast.JoinedStr):
        held["values"] = list(_pieces(node))
    told = {name: _without_remarks(value) if isinstance(value, list) else value for name, value in held.items()}
    return {name: value for name, value in told.items() if value is not None and value != []}


@cache
def _named(fields: tuple[str, ...]) -> list[str]:
    return [name for name in sorted(fields) if name not in DERIVED]


def _without_remarks(nodes: list[Any]) -> list[Any]:
    return [node for node in nodes if not is_remark(node)]


def _pieces(text: ast.JoinedStr) -> Iterator[ast.expr]:
    """The pieces of an f-string, neighbouring texts joined and empty ones left out, as versions of Python differ."""
    before = ""
    for piece in text.values:
        if isinstance(piece, ast.Constant):
            before += str(piece.value)
            continue
        if before:
            yield ast.Constant(before)
        before = ""
        yield piece
    if before:
        yield ast.Constant(before)
