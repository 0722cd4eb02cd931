"""Reference pages of the parts: a page for each family, from the registry, as `hfbench show` prints them."""

from __future__ import annotations

import io
from dataclasses import dataclass

from rich.console import Console

from hfbench import registry
from hfbench.commands.show import print_globalization, print_part
from hfbench.hessian_free.globalization import Globalization
from hfbench.parts.hyperparameters import first_line, hyperparameters

from . import facts
from .markdown import code, heading, settings, table


@dataclass(frozen=True)
class Family:
    title: str
    about: str
    used: str  # how a study file names one; {} is the part


FAMILIES = {
    "solver": Family(
        "Solvers",
        """A solver gives the iterates of the damped Gauss-Newton system
([equation 1](../../explanation/mathematics.md#the-system)). When to stop is for the [rules](rule.md), which all solvers
share.""",
        'solver = "{}"',
    ),
    "preconditioner": Family(
        "Preconditioners",
        """A preconditioner M approximates the matrix of the system and is built anew for every step
([why](../../explanation/mathematics.md#preconditioners)).""",
        'preconditioner = "{}"',
    ),
    "scheduler": Family(
        "Batch schedulers",
        """A scheduler says how many cases the gradient and the curvature of the next step see
([how batches grow](../../explanation/batches.md)).""",
        'scheduler = "{}"',
    ),
    "rule": Family(
        "Stopping rules",
        """A rule ends an inner solve. A method may have several; the first that says so ends it, and `max_inner` always
does.""",
        'rules = ["{}"]',
    ),
    "optimizer": Family(
        "First-order baselines",
        """What a user would pick instead: it stands in for solver, preconditioner, rules and globalisation, and its
work is counted alike ([the ledger](../../explanation/work.md)).""",
        'optimizer = "{}"',
    ),
    "task": Family(
        "Tasks",
        """A task is data, a model, a loss, and a target and a budget fixed beforehand. A `[tasks.<name>]` table makes
one of your own from it, with other settings ([study file](../study-file.md#tasks-name)).""",
        'tasks = ["{}"]',
    ),
}

OVERVIEW = """# Parts

Everything a method is made of, and what it is tried on. `hfbench list` prints this table, `hfbench show lsmr` the entry
of a part; a part of [your own](../../tutorials/add-a-solver.md) appears there as well. Beside its parts every
Hessian-free method has the settings of the [globalisation](globalization.md).

"""
GLOBALIZATION = """# Globalisation

What turns an inner solution into a safe step: warm start, backtracking, damping, line search; each a switch, the
same for all solvers ([how they work](../../explanation/mathematics.md#a-safe-step)). In a study file:
`globalization = { initial_damping = 5.0 }` in a method's table.

"""


def pages() -> dict[str, str]:
    """Every page of the parts by its path, the overview first."""
    found = {"reference/parts/index.md": overview(), "reference/parts/globalization.md": globalization()}
    return found | {f"reference/parts/{family}.md": of_family(family) for family in registry.FAMILIES}


def own(family: str) -> list[str]:
    """The names of hfbench's own parts: what else is installed where the site is built is left out."""
    return [name for name in registry.names(family) if registry.origin(family, name).startswith("hfbench ")]


def overview() -> str:
    rows = [
        [
            f"[{family}]({family}.md)",
            f"[{code(name)}]({family}.md#{name})",
            _line(first_line(registry.get(family, name))),
        ]
        for family in registry.FAMILIES
        for name in own(family)
    ]
    return OVERVIEW + table(["family", "name", "what"], rows)


def of_family(family: str) -> str:
    """The page of a family: its parts, each under an anchor that is its name."""
    said = FAMILIES[family]
    return "\n".join([f"# {said.title}\n", f"{said.about}\n", *(_entry(family, name) for name in own(family))])


def globalization() -> str:
    """The page of the settings that every Hessian-free method has beside its parts."""
    return f"{GLOBALIZATION}{facts.html(_printed(None, ''))}\n\n{settings(Globalization, 'globalization')}"


def _entry(family: str, name: str) -> str:
    cls = registry.get(family, name)
    used = FAMILIES[family].used.format(name)
    tunable = settings(cls, name) if hyperparameters(cls) else "It has no settings.\n"
    return "\n".join(
        [
            heading(code(name), name),
            f"{_line(first_line(cls))}\n",
            f"{facts.html(_printed(family, name))}\n",
            tunable,
            f"In a study file: {code(used)}. In the code: {code(f'{cls.__module__}.{cls.__qualname__}')}.\n",
        ]
    )


def _printed(family: str | None, name: str) -> str:
    """What `hfbench show` prints of a part between its first line and its hyper-parameters."""
    said = io.StringIO()
    console = Console(file=said, width=200, markup=False, highlight=False, emoji=False)
    if family is None:
        print_globalization(console)
    else:
        print_part(console, family, name)
    paragraphs = said.getvalue().split("\n\n")[1:]
    ends = ("Hyper-parameters", "It has no hyper-parameters", "Code ")
    length = next(
        (i for i, paragraph in enumerate(paragraphs) if paragraph.lstrip("\n").startswith(ends)), len(paragraphs)
    )
    return "\n\n".join(paragraphs[:length])


def _line(text: str) -> str:
    """A docstring's line in Markdown: what it could read as markup is escaped."""
    return text.replace("*", r"\*").replace("_", r"\_").replace("<", "&lt;")
