"""Reference pages of the Python names."""

from __future__ import annotations

import importlib.util
import inspect

import hfbench
from hfbench import parts

from . import python_names
from .markdown import code, table

INTRO = """# Python

`import hfbench` gives the names below; the modules are what parts of your own are written against.
[The optimiser in your own loop](../../tutorials/own-loop.md) shows the first at work,
[a solver of your own](../../tutorials/add-a-solver.md) the second.

"""
MODULES = {
    "parts.registry": "Parts by name: list, get, build, add.",
    "parts.protocols": "What each family of parts promises.",
    "parts.shown_outputs": "What a report shows of a task's outputs.",
    "parts.hyperparameters": "Hyper-parameters, ranges: `@part`, `Log`, `Linear`, `Integers`, `Choice`, `Within`.",
    "config.load": "Study files, read and checked.",
    "linalg.scalars": "Numbers that a solver computes from vectors, which on a GPU stay there.",
    "inner_solve.iteration": "An inner iteration that a GPU replays as one CUDA graph.",
    "testing": "Contracts that parts of your own are checked against.",
}
PARTS = """
A part needs one import line, `from hfbench.parts import …`; a notebook or a script besides `hfbench.registry`, a test
`hfbench.testing`.

"""
ALIASES = {"Shift": "A diagonal to add: one number per block, or a vector."}
CHOSEN = {"config.load": ("load_study", "shipped_studies", "Study")}  # of a module; else all it has
COMPLETE = ("parts.protocols",)  # what has no docstring is shown as well: its name and type are the promise


def pages() -> dict[str, str]:
    found = {f"reference/python/{name}.md": module(name) for name in modules()}
    return {"reference/python/index.md": names_page(), **found}


def names() -> list[str]:
    """The classes and functions that `import hfbench` gives."""
    return [name for name in hfbench._HOMES if name in hfbench.__all__]


def modules() -> list[str]:
    return [name for name in MODULES if importlib.util.find_spec(f"hfbench.{name}") is not None]


def names_page() -> str:
    rows = [[f"[{code(f'hfbench.{name}')}]({name}.md)", MODULES[name]] for name in modules()]
    entries = [python_names.chosen(hfbench._HOMES[name], [name]) for name in names()]
    imported = [[code(name), ALIASES.get(name) or _first_line(name)] for name in parts.__all__]
    return "\n".join([INTRO, table(["module", "what"], rows), PARTS, table(["name", "what"], imported), *entries])


def _first_line(name: str) -> str:
    return (inspect.getdoc(getattr(parts, name)) or "").partition("\n")[0]


def module(name: str) -> str:
    path = f"hfbench.{name}"
    if name in CHOSEN:
        return f"# {path}\n\n{MODULES[name]}\n\n{python_names.chosen(path, CHOSEN[name])}"
    return f"# {path}\n\n{python_names.about(path)}\n\n{python_names.everything(path, name in COMPLETE)}"
