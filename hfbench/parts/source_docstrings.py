"""First docstring lines of classes, read from source without importing it.

Importing a plugin may import torch, take seconds, or fail; reading its source does not. Errors that the source shows
are reported: a missing module, a file that is not Python, a class that its module does not have.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from hfbench.errors import HfbenchError
from hfbench.messages import quoted
from hfbench.parts import plugin_errors
from hfbench.parts.source_files import read_source

UNLISTED = "Is it listed under py-modules or packages in its pyproject.toml, and installed again?"
REEXPORTS = 8  # how often a name may be imported onward before it is given up


def first_line_in_source(module: str, name: str) -> str:
    """The first line of the docstring of the class `name` of a module; "" if the source does not show it.

    Raises HfbenchError if the module cannot be found or is not Python, or neither defines nor imports the name.
    """
    if not name.isidentifier():  # a class inside a class, or none at all
        return ""
    for _ in range(REEXPORTS):
        source = _source(module)
        if source is None:  # compiled, or made by an importer of its own
            return ""
        tree = _parsed(source)
        found = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
        if found is not None:
            return inspect.cleandoc(ast.get_docstring(found) or "").partition("\n")[0]
        onward = _imported(tree, name, module, source.name == "__init__.py")
        if onward is None:
            if _assigned(tree, name):
                return ""
            raise HfbenchError(f"{source} defines no class {name}.")
        module, name = onward
    return ""


def _source(module: str) -> Path | None:
    """The file of a module, found as by an import, but without importing its parent packages."""
    path: Sequence[str] | None = None
    parts = module.split(".")
    for depth in range(len(parts)):
        name = ".".join(parts[: depth + 1])
        if depth and path is None:
            raise HfbenchError(f"no module named {quoted(name)}: {name.rpartition('.')[0]} is no package.")
        specs = (finder.find_spec(name, path) for finder in sys.meta_path if hasattr(finder, "find_spec"))
        try:
            spec = next((spec for spec in specs if spec is not None), None)
        except Exception:  # of a finder that looks at the package above, which is not imported
            return None
        if spec is None:
            raise HfbenchError(f"no module named {quoted(name)}. {UNLISTED}")
        path = spec.submodule_search_locations
    file = Path(spec.origin) if spec is not None and spec.origin else Path()
    return file if file.suffix == ".py" and file.is_file() else None  # in an archive it is none


def _parsed(source: Path) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a backslash in a string: not for whoever lists parts
            return ast.parse(read_source(source), filename=str(source))
    except (SyntaxError, ValueError, OSError) as error:
        raise HfbenchError(f"{plugin_errors.reason(error)}.") from None


def _imported(tree: ast.Module, name: str, module: str, is_package: bool) -> tuple[str, str] | None:
    """Module and original name of a name imported by a top-level `from … import …`."""
    package = module if is_package else module.rpartition(".")[0]
    for node in tree.body:
        if not isinstance(node, ast.ImportFrom):
            continue
        for alias in node.names:
            if (alias.asname or alias.name) == name:
                base = "." * node.level + (node.module or "")
                return (importlib.util.resolve_name(base, package) if node.level else base), alias.name
    return None


def _assigned(tree: ast.Module, name: str) -> bool:
    """True if the name may still exist: assigned, imported by a star, or imported in a nested block."""
    nodes = list(ast.walk(tree))
    imported = {
        alias.asname or alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    defined = {node.name for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    return bool({name, "*", "__getattr__"} & (imported | stored | defined))
