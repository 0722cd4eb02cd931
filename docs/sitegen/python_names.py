"""Python names as Markdown, read from the source: a heading, the signature, the docstring, and a class's members."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

WIDTH = 80  # of a signature; a longer one has a line for each parameter
RECORDS = {"dataclass", "part", "NamedTuple"}  # by decorator or base: a class whose fields are its parameters

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
Field = tuple[str, str, str]  # name, annotation, value


def about(module: str) -> str:
    """The docstring of a module."""
    return ast.get_docstring(_tree(module)) or ""


def chosen(module: str, names: Sequence[str]) -> str:
    """The entries of these names, wherever the module has them from."""
    return "\n".join(entry(_definition(module, name)) for name in names)


def everything(module: str, complete: bool = False) -> str:
    """The entries of `__all__`, or else of all public names that have a docstring, or all if `complete`."""
    listed = _listed(module)
    if listed:
        found = [_definition(module, name) for name in listed if _is_defined(module, name)]
    else:
        found = [node for node in _tree(module).body if isinstance(node, Definition) and not node.name.startswith("_")]
    shown = [node for node in found if complete or ast.get_docstring(node)]
    constants = [f"{name} = {value}" for name, _, value in _fields(_tree(module)) if complete and name.isupper()]
    return "\n".join([*_fence(constants), *(entry(node, complete) for node in shown)])


def entry(node: Definition, complete: bool = False) -> str:
    """A class with its members or a function, below a heading of the second level."""
    if not isinstance(node, ast.ClassDef):
        return _section(2, node.name, _fence([_call(node.name, _parameters(node), node.returns)]), node)
    members = [
        member
        for member in node.body
        if isinstance(member, Function) and not member.name.startswith("_") and (complete or ast.get_docstring(member))
    ]
    parts = [_section(2, node.name, _fence(_class(node, complete)), node, _method(node, "__init__"))]
    return "\n".join([*parts, *(_member(node.name, member) for member in members)])


def _member(owner: str, node: Function) -> str:
    is_value = any(_name(decorator) in ("property", "cached_property") for decorator in node.decorator_list)
    shown = f"{node.name}: {_text(node.returns)}" if is_value else _call(node.name, _parameters(node)[1:], node.returns)
    return _section(3, f"{owner}.{node.name}", _fence([shown]), node)


def _section(level: int, name: str, signature: list[str], *documented: ast.AST | None) -> str:
    docs = [ast.get_docstring(node) or "" for node in documented if isinstance(node, Definition)]
    return "\n".join([f"{'#' * level} {name}\n", *signature, *(f"{doc}\n" for doc in docs if doc)])


# ---------------------------------------------------------------- signatures


def _class(node: ast.ClassDef, complete: bool) -> list[str]:
    """How it is called; or what it promises, if it is complete and nobody calls it."""
    init, bases = _method(node, "__init__"), ", ".join(map(_text, node.bases))
    kinds = {_name(kind) for kind in (*node.decorator_list, *node.bases)}
    fields = [field for field in _fields(node) if not field[0].startswith("_")]
    if init is not None:
        return [_call(node.name, _parameters(init)[1:])]
    if kinds & RECORDS:
        return [_call(node.name, [_assigned(*field) for field in fields if not field[1].startswith("ClassVar")])]
    if not complete or not fields:
        return [f"class {node.name}({bases})" if bases else f"class {node.name}"]
    lines = [_assigned(*field) if field[1] else f"{field[0]} = {field[2]}" for field in fields]
    return [f"class {node.name}({bases}):", *(f"    {line}" for line in lines)]


def _call(name: str, parameters: Sequence[str], returns: ast.expr | None = None) -> str:
    gives = f" -> {_text(returns)}" if returns is not None else ""
    line = f"{name}({', '.join(parameters)}){gives}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {parameter}," for parameter in parameters), f"){gives}"])


def _parameters(node: Function) -> list[str]:
    """Each parameter as it is written, with the bare `*` and `/`."""
    given = node.args
    positional = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(positional) - len(given.defaults)) + given.defaults
    shown = [_parameter(argument, default) for argument, default in zip(positional, defaults, strict=True)]
    if given.posonlyargs:
        shown.insert(len(given.posonlyargs), "/")
    if given.vararg is not None:
        shown.append(f"*{_text(given.vararg)}")
    elif given.kwonlyargs:
        shown.append("*")
    shown += [_parameter(*pair) for pair in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    return shown + ([f"**{_text(given.kwarg)}"] if given.kwarg is not None else [])


def _parameter(parameter: ast.arg, default: ast.expr | None) -> str:
    return _assigned(parameter.arg, _text(parameter.annotation), _text(default))


def _assigned(name: str, annotation: str, value: str) -> str:
    if annotation:
        return f"{name}: {annotation} = {value}" if value else f"{name}: {annotation}"
    return f"{name}={value}" if value else name


def _fence(lines: list[str]) -> list[str]:
    return ["```python", *lines, "```\n"] if lines else []


# ---------------------------------------------------------------- source


@cache
def _tree(module: str) -> ast.Module:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return ast.parse(Path(spec.origin).read_text("utf-8"))


def _definition(module: str, name: str) -> Definition:
    """The class or function, in this module or the one that it is imported from."""
    for node in _tree(module).body:
        if isinstance(node, Definition) and node.name == name:
            return node
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            return _definition(node.module or "", name)
    raise ValueError(f"{module} must define or import {name}, but does not.")


def _is_defined(module: str, name: str) -> bool:
    return name not in {field[0] for field in _fields(_tree(module))}


def _listed(module: str) -> list[str]:
    value = next((field[2] for field in _fields(_tree(module)) if field[0] == "__all__"), "[]")
    return list(ast.literal_eval(value))


def _fields(node: ast.Module | ast.ClassDef) -> list[Field]:
    """The names that are annotated or assigned in a body, as they are written."""
    return list(_assignments(node.body))


def _assignments(body: Sequence[ast.stmt]) -> Iterator[Field]:
    for node in body:
        if isinstance(node, ast.AnnAssign):
            yield _text(node.target), _text(node.annotation), _text(node.value)
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            yield _text(node.targets[0]), "", _text(node.value)


def _method(node: ast.ClassDef, name: str) -> Function | None:
    return next((member for member in node.body if isinstance(member, Function) and member.name == name), None)


def _name(kind: ast.expr) -> str:
    return _text(kind.func if isinstance(kind, ast.Call) else kind).rpartition(".")[2]


def _text(node: ast.AST | None) -> str:
    """The source of an expression, with the quotes of this house."""
    text = "" if node is None else ast.unparse(node)
    return text if '"' in text else text.replace("'", '"')
