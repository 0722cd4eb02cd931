"""Reference page of the study file, read from the declarations of its tables."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hfbench.config import load, on_tasks, search_ranges, sweep
from hfbench.config.ablation import AblationTable
from hfbench.config.hypotheses import _HypothesisTable
from hfbench.config.methods import MethodTable
from hfbench.parts.hyperparameters import Hyperparameter, hyperparameters

from .markdown import allowed, code, default, heading, table


@dataclass(frozen=True)
class Table:
    """A table of a study file: where it stands, what declares it, what it is for."""

    where: str
    declared: type
    about: str

    @property
    def anchor(self) -> str:
        return re.sub(r"[.<> ]+", "-", self.where).strip("-")

    @property
    def keys(self) -> list[str]:
        return [setting.name for setting in hyperparameters(self.declared)]


TABLES = (
    Table(
        "study",
        load._StudyTable,
        "What is compared on what, how often and by which cost: all of it fixed beforehand.",
    ),
    Table(
        "study.budget",
        on_tasks._BudgetTable,
        """Where a run ends, whichever limit is met first; looked at after each step. Without it every task has its
own.""",
    ),
    Table(
        "methods.<name>",
        MethodTable,
        """A method: its parts, or a baseline in their place. A Hessian-free one has a [solver](parts/solver.md), a
[preconditioner](parts/preconditioner.md), [rules](parts/rule.md) and the [globalisation](parts/globalization.md); a
[baseline](parts/optimizer.md) has none of these. A part is a name or a table: `solver = "lsmr"`,
`scheduler = { use = "fixed", curvature = 0.5 }`. Batches are decided by a [scheduler](parts/scheduler.md) or met
again with `batches_of`.""",
    ),
    Table(
        "on.<task>",
        on_tasks._OnTable,
        """What differs on one task of the study. The baseline must be among its methods, and some task must run every
method. `[on.usps.settings.adam]` says what differs from `[methods.adam]` there, such as `optimizer.lr = 2e-3`: the
method keeps its name.""",
    ),
    Table(
        "ablation",
        AblationTable,
        """Adds the methods between two of those above. The baseline must be the one the design begins with: `from`, or
`to` for leave-one-out.""",
    ),
    Table(
        "hypotheses.<name>",
        _HypothesisTable,
        "A claim, judged on every task that runs both methods; all claims are one family of tests.",
    ),
    Table(
        "sweep",
        sweep.SweepTable,
        "What `hfbench sweep` searches; [sweeps](sweeps.md) says how it goes about it.",
    ),
    Table(
        "sweep.parameters.<key path>",
        search_ranges._Range,
        """Where a setting is searched. An empty table takes the range that the part declares; what is not given of a
range is the declared one's. The key path begins below the method: `scheduler.theta`,
`rules.relative-progress.epsilon`.""",
    ),
    Table(
        "sweep.constraint",
        sweep._ConstraintTable,
        "A bound that the frozen setting must keep.",
    ),
)

INTRO = """# Study file

A study is a TOML file. [Your first study](../tutorials/first-study.md) writes one; `hfbench show paper` says where the
shipped ones are, to copy. A mistake is answered with the file, the key, what was given, what is allowed and the nearest
known name. From the command line, `--set key.path=value` changes any key.

A file has at most 4 MiB, keys of 64 characters, whole numbers of 64 bits, and 12 tables and lists in one another; a
study has at most 100 000 runs. Before the first run, a target that the untrained model meets, a model that does not fit
into memory and a batch larger than the data are refused, too. The plan and the report name methods with the same
settings, and the report tasks on which the first step ended every run.

"""

TASKS = """<a id="tasks-name"></a>

## `[tasks.<name>]`

A task of your own: a shipped one, named by `use`, with other settings; [the tasks](parts/task.md) list theirs. Its name
may then stand in `study.tasks`.

```toml
[tasks.usps-shallow]
use = "usps"
layers = [100, 25]
```
"""


def page() -> str:
    tables = [*TABLES, *_later()]
    listed = [_listed(entry.where, entry.anchor, entry.about) for entry in tables]
    listed.insert(3, _listed("tasks.<name>", "tasks-name", "A task of your own."))
    entries = [_entry(entry) for entry in tables]
    entries.insert(3, TASKS)
    return INTRO + "\n".join([table(["table", "what"], listed), *entries])


def _listed(where: str, anchor: str, about: str) -> list[str]:
    return [f"[{code(f'[{where}]')}](#{anchor})", " ".join(about.partition(". ")[0].rstrip(".").split())]


def _later() -> list[Table]:
    """Tables that only some versions have."""
    plugins = getattr(load, "_PluginsTable", None)
    about = "Files that add parts of your own before the study is read."
    return [Table("plugins", plugins, about)] if plugins is not None else []


def _entry(one: Table) -> str:
    rows = [_row(one, declared) for declared in hyperparameters(one.declared)]
    head = f"{heading(f'`[{one.where}]`', one.anchor)}\n{one.about}\n\n"
    return head + table(["key", "meaning", "default", "allowed"], rows)


def _row(one: Table, declared: Hyperparameter) -> list[str]:
    name = declared.name
    key = f'<span id="{one.anchor}.{name}"></span>{code(name)}'
    return [key, declared.meaning, default(declared), allowed(declared)]
