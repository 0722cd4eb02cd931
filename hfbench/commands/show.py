"""`hfbench list` and `hfbench show`: parts and studies, one line each or one in full."""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from hfbench.config.hypotheses import Hypothesis
from hfbench.config.load import load_study, shipped_studies
from hfbench.config.methods import Method
from hfbench.config.study import Study
from hfbench.config.sweep import Sweep, extent_text
from hfbench.errors import HfbenchError
from hfbench.execution.screen import Screen
from hfbench.messages import ranges
from hfbench.parts import plugin_errors, registry
from hfbench.parts.hyperparameters import Hyperparameter, first_line, hyperparameters

UNOPENED = "Parts of other packages are listed without being imported; `hfbench list --load` imports them."

Row = tuple[str, str]
Listing = tuple[str, list[Row]]  # a heading and its rows


def plain_console() -> Console:
    """Console that prints the text of plugins and files literally, never as markup."""
    return Screen(highlight=False)


# ---------------------------------------------------------------- list


def print_list(console: Console, kinds: Sequence[str], load: bool = False) -> None:
    """Prints the names of each kind (a family or "study") with one line of description each, grouped by owner.

    Nothing is imported unless `load` is set; a part whose import fails is then shown with its traceback.
    """
    groups = [group for kind in kinds for group in ([_studies()] if kind == "study" else _parts(kind, load))]
    width = max((len(name) for _, rows in groups for name, _ in rows), default=0)
    for index, (heading, rows) in enumerate(groups):
        console.print(f"{chr(10) if index else ''}{heading}", soft_wrap=True)
        _print_rows(console, rows, width)
    if not load and any(_is_unopened(kind, name) for kind in kinds if kind != "study" for name in registry.names(kind)):
        console.print(f"\n{UNOPENED}")


def _studies() -> Listing:
    return f"study · {_own()}", list(shipped_studies().items())


def _parts(family: str, load: bool) -> list[Listing]:
    """The parts of a family by who owns them, hfbench's own first."""
    groups: dict[str, list[Row]] = {_own(): []}
    for name in registry.names(family):
        groups.setdefault(_owner(family, name), []).append((name, _line(family, name, load)))
    return [(f"{family} · {owner}", rows) for owner, rows in groups.items() if rows]


@cache
def _own() -> str:
    return f"hfbench {version('hfbench')}"


def _owner(family: str, name: str) -> str:
    try:
        return registry.origin(family, name)
    except HfbenchError:  # it has two, which the line says
        return "several owners"


def _is_unopened(family: str, name: str) -> bool:
    """True if the part belongs to another package and is not imported yet, so that it may still prove broken."""
    return (family, name) not in registry.added() and _owner(family, name) != _own()


def _line(family: str, name: str, load: bool) -> str:
    """One-line description of the part. A broken plugin is described as broken, and the others are still listed."""
    try:
        return first_line(registry.get(family, name)) if load else registry.one_line(family, name)
    except HfbenchError as error:
        return f"error: {broken(error)}"


def broken(error: HfbenchError) -> str:
    """The error message, with a way to the plugin's own exception if there is one."""
    cause = error.__cause__
    return "\n".join(filter(None, (str(error), plugin_errors.trace(cause) if cause is not None else "")))


def _print_rows(console: Console, rows: Iterable[Row], width: int = 0) -> None:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(min_width=width, no_wrap=True)
    grid.add_column(overflow="fold")
    for row in rows:
        grid.add_row(*row)
    console.print(Padding(grid, (0, 0, 0, 2)))


# ---------------------------------------------------------------- show a part


def print_part(console: Console, family: str, name: str) -> None:
    """Prints the part: description, formula and source from its docstring, hyper-parameters, and place of its code."""
    cls = registry.get(family, name)
    facts = [_facts_of_task(cls)] if family == "task" else [_requirements(family, cls)]
    _print_class(console, f"{family} {name}", cls, registry.origin(family, name), facts)


def print_globalization(console: Console) -> None:
    """Prints the settings that every Hessian-free method has besides its parts."""
    from hfbench.hessian_free.globalization import Globalization  # brings torch

    _print_class(console, "globalization", Globalization, _own(), [])


def _print_class(console: Console, title: str, cls: type, origin: str, facts: Sequence[str]) -> None:
    paragraphs = [f"{title}\n{first_line(cls)}".rstrip(), _about(cls), *facts]
    declared = hyperparameters(cls)
    if declared:
        paragraphs.append("\n".join(["Hyper-parameters", *map(_hyperparameter, declared)]))
    else:
        paragraphs.append("It has no hyper-parameters.")
    for paragraph in filter(None, paragraphs):
        console.print(f"{_filled(paragraph, console.width)}\n")
    console.print(_code(cls, origin), soft_wrap=True)


def _about(cls: type) -> str:
    """The docstring of the class after its first line or, if there is no more, that of its module."""
    return _body(inspect.getdoc(cls)) or _body(inspect.getdoc(sys.modules[cls.__module__]))


def _body(doc: str | None) -> str:
    return (doc or "").partition("\n")[2].strip("\n")


def _filled(text: str, width: int) -> str:
    """Wraps long lines, indented to the text that follows a label."""
    filled = []
    for line in text.splitlines():
        label = re.match(r"\S+ {2,}| *", line)
        indent = " " * (label.end() if label else 0)
        options: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
        filled += textwrap.wrap(line, width, subsequent_indent=indent, **options) or [""]
    return "\n".join(filled)


def _facts_of_task(cls: type) -> str:
    budget = _amounts(getattr(cls, "budget", {}))
    files = ", ".join(f"{file.path}{' (optional)' * file.optional}" for file in getattr(cls, "files", ()))
    return f"Budget     {budget or 'none'}, unless the study sets one\nFiles      {files or 'none: data are generated'}"


def _requirements(family: str, cls: type) -> str:
    """The requirements that a part declares: what it takes from other parts."""
    needs = ", ".join(getattr(cls, "needs", ()))
    if family == "solver":
        return f"Takes      {'any' if getattr(cls, 'takes_preconditioner', True) else 'no'} preconditioner"
    words = {
        "preconditioner": f"built on {_cases_of(cls)} cases",
        "scheduler": f"of every step {needs}" if needs else "nothing",
        "rule": f"states with {needs}" if needs else "nothing",
        "optimizer": "nothing; it replaces solver, preconditioner and rules",
    }
    return f"Requires   {words[family]}"


def _cases_of(preconditioner: type) -> str:
    """Whose cases it is built on: of one batch, or by its settings."""
    cases = getattr(preconditioner, "cases", "")
    return f"the {cases}'s" if isinstance(cases, str) else "the curvature's or the gradient's"


def _amounts(budget: Mapping[str, float]) -> str:
    return ", ".join(f"{limit:g} {unit}" for unit, limit in budget.items())


def _hyperparameter(one: Hyperparameter) -> str:
    """Default (in the syntax of a study file), meaning, allowed values and search range."""
    unset = " (must be given)" if one.required else " (not set)" if one.default is None else ""
    default = unset or f" = {_toml(one.default)}"
    search = "not searched" if one.search is None else f"search: {one.search}"
    return f"  {one.name}{default}\n    {one.meaning}\n    allowed: {one.allowed}   {search}"


def _toml(value: Any) -> str:
    """The value in TOML: JSON writes strings, numbers, booleans and lists the same way."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _code(cls: type, origin: str) -> str:
    """Place of the class: its name, its owner, and file and line, which editors open."""
    owner = origin if not os.path.exists(origin) else "added in this process"
    lines = f"Code       {cls.__module__}.{cls.__qualname__} ({owner})"
    try:
        file, line = inspect.getsourcefile(cls), inspect.getsourcelines(cls)[1]
    except (OSError, TypeError):  # classes typed at a prompt have no file
        return lines
    return f"{lines}\n           {os.path.realpath(file or '')}:{line}"


# ---------------------------------------------------------------- show a study


def is_file(name: str) -> bool:
    """Whether the name of a study is the path of a file."""
    return name.endswith(".toml")


def print_study(console: Console, name: str) -> None:
    """Prints a study, shipped or of a file: question, settings that it fixes beforehand, methods, and its file."""
    study = load_study(name)
    console.print(f"study {study.name}\n{study.question}\n")
    _print_rows(
        console,
        [
            *((("task" if index == 0 else ""), _task(study, task)) for index, task in enumerate(study.tasks)),
            ("compares", f"{study.primary}, equivalent within a factor of {study.margin:g}"),
            ("baseline", study.baseline),
            *([("device", study.device)] if study.device != "cpu" else []),
            *((("tunes" if index == 0 else ""), _tuned(sweep)) for index, sweep in enumerate(study.sweeps)),
        ],
    )
    console.print("\nMethods")
    own = [
        (f"{name} on {task}", method) for task, on_task in study.on.items() for name, method in on_task.settings.items()
    ]
    _print_rows(console, [(name, _method(method)) for name, method in [*study.methods.items(), *own]])
    if study.hypotheses:
        console.print("\nClaims")
        _print_rows(
            console,
            [
                (hypothesis.name, f"{hypothesis.says or hypothesis.measure}: {_expected(hypothesis)}")
                for hypothesis in study.hypotheses
            ],
        )
    file = name if is_file(name) else resources.files("hfbench.studies") / f"{name}.toml"
    console.print(f"\nFile       {os.path.realpath(str(file))}", soft_wrap=True)


def _task(study: Study, task: str) -> str:
    """One line about a task: target, budget, methods and seeds."""
    on, target = study.on[task], study.targets[task]
    budget = _amounts(on.budget) or "its own budget"
    methods = f"{len(on.methods)} method{'s' * (len(on.methods) != 1)}"
    return f"{task}: to {study.target_on} error {target:g} within {budget}, {methods}, seeds {ranges(on.seeds)}"


def _tuned(sweep: Sweep) -> str:
    """One line about a sweep: method, tasks, trials and searched settings."""
    return f"{sweep.method} on {', '.join(sweep.tasks)}, {extent_text(sweep)}: {', '.join(sweep.parameters)}"


def _expected(one: Hypothesis) -> str:
    """`shf not-worse than hf by final_test_error`."""
    than = "to" if one.expects == "equivalent" else "than"
    return f"{one.method} {one.expects} {than} {one.against} by {one.measure}"


def _method(method: Method) -> str:
    """One line about a method: its parts, with the settings that differ from the defaults."""
    parts = [_as_set(registry.get(family, settings["use"]), settings) for family, settings in method.parts()]
    follows = [f"the batches of {method.batches_of}"] if method.batches_of else []
    layout = [] if method.layout == "structured" else [f"{method.layout} layout"]
    products = [] if method.precision == "parameters" else [f"products in {method.precision}"]
    return ", ".join([*parts, *follows, *layout, *products])


def _as_set(cls: type, settings: Mapping[str, Any]) -> str:
    changed = [
        hyperparameter.name
        for hyperparameter in hyperparameters(cls)
        if settings[hyperparameter.name] != hyperparameter.default
    ]
    written = ", ".join(f"{name} = {_toml(settings[name])}" for name in changed)
    return f"{settings['use']} ({written})" if written else str(settings["use"])
