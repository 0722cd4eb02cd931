"""`[on.<task>]`: what differs on one task of a study: methods, seeds, budget, and settings of methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated, Any

from hfbench.config.methods import Method, resolve
from hfbench.config.study import INTERVAL, OnTask
from hfbench.config.table_checks import check_known, distinct, seeds_of, tables_of
from hfbench.errors import ConfigError
from hfbench.messages import listed
from hfbench.parts import hyperparameters
from hfbench.parts.hyperparameters import Within, part, settings_of


@part
class _BudgetTable:
    passes: Annotated[float | None, Within("(0, 1e9]"), "work: forward passes of every training case"] = None
    seconds: Annotated[float | None, Within("[0.001, 1e8]"), "time of the steps, without evaluation and records"] = None
    products: Annotated[float | None, Within("[1, 1e12]"), "Gauss-Newton products"] = None
    iterations: Annotated[float | None, Within("[1, 1e9]"), "steps, a whole number"] = None

    def __post_init__(self) -> None:
        if self.iterations is not None and not self.iterations.is_integer():
            raise ConfigError(f"iterations: must be a whole number of steps, but got {self.iterations:g}.")


@part
class _OnTable:
    methods: Annotated[list[str] | None, "the methods to run, and to tune, on the task; all if not given"] = None
    seeds: Annotated[int | list[int] | None, "number of seeds on the task, or a list of seeds"] = None
    budget: Annotated[dict[str, float] | None, "limits of a run on the task"] = None
    evaluate_every: Annotated[int | None, INTERVAL, "steps from one evaluation to the next on the task"] = None
    settings: Annotated[dict[str, Any], "by method, what differs from its table on the task"] = field(
        default_factory=dict
    )


def budget_of(given: dict[str, Any], where: str) -> dict[str, float]:
    limits = settings_of(hyperparameters.build_part(_BudgetTable, given, where))
    return {key: limit for key, limit in limits.items() if limit is not None}


def on_tasks(
    tables: Mapping[str, dict[str, Any]],
    tasks: Sequence[str],
    everywhere: OnTask,
    baseline: str,
    methods: Mapping[str, dict[str, Any]],
) -> dict[str, OnTask]:
    """What every task has, from its own table or else from the study; `methods` are the methods' tables as written.

    Raises ConfigError with the key path of an error.
    """
    for name in tables:
        check_known(name, tasks, f"on.{name}", "task")
    return {task: _on_task(tables.get(task, {}), f"on.{task}", everywhere, baseline, methods) for task in tasks}


def _on_task(
    table: dict[str, Any], where: str, everywhere: OnTask, baseline: str, methods: Mapping[str, dict[str, Any]]
) -> OnTask:
    given = hyperparameters.build_part(_OnTable, table, where)
    chosen = everywhere.methods if given.methods is None else distinct(given.methods, f"{where}.methods")
    for name in chosen:
        check_known(name, everywhere.methods, f"{where}.methods", "method")
    if baseline not in chosen:
        raise ConfigError(f"{where}.methods: must include the baseline {baseline}, but got {listed(chosen)}.")
    own = tables_of(table, "settings", f"{where}.")
    for name in own:
        check_known(name, [name for name in methods if name in chosen], f"{where}.settings", "method")
    return OnTask(
        methods=tuple(name for name in everywhere.methods if name in chosen),
        seeds=everywhere.seeds if given.seeds is None else seeds_of(given.seeds, f"{where}.seeds"),
        budget=everywhere.budget if given.budget is None else budget_of(given.budget, f"{where}.budget"),
        evaluate_every=given.evaluate_every or everywhere.evaluate_every,
        settings={name: _method(name, methods[name], own[name], f"{where}.settings.{name}") for name in own},
    )


def _method(name: str, table: Mapping[str, Any], own: Mapping[str, Any], where: str) -> Method:
    """The method with settings of its own. It replays the batches that it replays everywhere."""
    if own.get("batches_of", table.get("batches_of")) != table.get("batches_of"):
        raise ConfigError(f"{where}.batches_of: must be that of methods.{name}; give the method another name for this.")
    return resolve(name, _merged(table, own), where)


def _merged(table: Any, own: Any) -> Any:
    """A table with other values in it; a part that is named differently there is another part."""
    if not isinstance(own, Mapping):
        return own
    below = {"use": table} if isinstance(table, str) else table if isinstance(table, Mapping) else {}
    if "use" in own and own["use"] != below.get("use"):
        return own
    return {**below, **{key: _merged(below.get(key), value) for key, value in own.items()}}
