"""All runs of a study, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from hfbench.config.run_spec import RunSpec
from hfbench.config.study import INTERVAL
from hfbench.config.table_checks import checked
from hfbench.errors import ConfigError
from hfbench.parts import registry
from hfbench.parts.data_files import checksum, find_file

if TYPE_CHECKING:
    from hfbench.config.study import OnTask, Study
    from hfbench.parts.protocols import Task


def runs_of(study: Study, data: str | None = None) -> list[RunSpec]:
    """All runs of a study, seed by seed, so that the pairs of a comparison finish together.

    Raises as `registry.build` does, ConfigError for an interval between evaluations that no run comes to, and DataError
    for an optional data file that is damaged.
    """
    tasks = {
        name: registry.build("task", dict(settings), where=f"tasks.{name}") for name, settings in study.tasks.items()
    }
    intervals = {name: _interval(name, study.on[name], task) for name, task in tasks.items()}
    found = {name: _optional_files(task, data) for name, task in tasks.items()}
    specs = []
    for seed in dict.fromkeys(seed for on_task in study.on.values() for seed in on_task.seeds):
        for name, task in tasks.items():
            on = study.on[name]
            if seed not in on.seeds:
                continue
            of_seed = {
                method.name: RunSpec(
                    task=name,
                    task_settings=study.tasks[name],
                    method=method,
                    seed=seed,
                    budget=_budget(on, task),
                    target=float(study.targets[name]),
                    precision=study.precision,
                    device=study.device,
                    stop_at_target=study.stop_at_target,
                    files=found[name],
                    target_on=study.target_on,
                    evaluate_every=intervals[name],
                )
                for method in (study.method_on(name, method) for method in on.methods)
            }
            specs += [_following(spec, of_seed) for spec in of_seed.values()]
    return specs


def _budget(on: OnTask, task: Task) -> dict[str, float]:
    return on.budget or dict(task.budget)


def _interval(name: str, on: OnTask, task: Task) -> int:
    """Steps from one evaluation to the next: the study's, else the task's own, else 1."""
    if on.evaluate_every is None:
        own = getattr(task, "evaluate_every", 1)
        return int(checked(own, int, INTERVAL, f"tasks.{name}.evaluate_every"))
    most = _budget(on, task).get("iterations", math.inf)
    if on.evaluate_every > most:
        raise ConfigError(
            f"study.evaluate_every: must be at most the {most:g} iterations of the budget on {name}, but is "
            f"{on.evaluate_every}: no run would be evaluated before its end."
        )
    return on.evaluate_every


def _following(spec: RunSpec, of_seed: Mapping[str, RunSpec]) -> RunSpec:
    """The run, with the key of the run whose batches it replays, if it does."""
    followed = spec.method.batches_of
    return spec if followed is None else replace(spec, follows=of_seed[followed].key())


def _optional_files(task: Task, data: str | None) -> dict[str, str]:
    """Checksums of the optional files found, which decide a task's numbers too; other checksums are in its source."""
    paths = {file.path: find_file(file, data) for file in task.files if file.optional}
    return {name: checksum(path) for name, path in paths.items() if path is not None}
