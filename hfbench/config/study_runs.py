"""All runs of a study, seed by seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from hfbench.config.run_spec import RunSpec
from hfbench.parts import registry
from hfbench.parts.data_files import checksum, find_file

if TYPE_CHECKING:
    from hfbench.config.study import Study
    from hfbench.parts.protocols import Task


def runs_of(study: Study, data: str | None = None) -> list[RunSpec]:
    """All runs of a study, seed by seed, so that the pairs of a comparison finish together.

    Raises as `registry.build` does, and DataError for an optional data file that is damaged.
    """
    tasks = {
        name: registry.build("task", dict(settings), where=f"tasks.{name}") for name, settings in study.tasks.items()
    }
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
                    budget=on.budget or dict(task.budget),
                    target=float(study.targets[name]),
                    precision=study.precision,
                    device=study.device,
                    stop_at_target=study.stop_at_target,
                    files=found[name],
                )
                for method in (study.method_on(name, method) for method in on.methods)
            }
            specs += [_following(spec, of_seed) for spec in of_seed.values()]
    return specs


def _following(spec: RunSpec, of_seed: Mapping[str, RunSpec]) -> RunSpec:
    """The run, with the key of the run whose batches it replays, if it does."""
    followed = spec.method.batches_of
    return spec if followed is None else replace(spec, follows=of_seed[followed].key())


def _optional_files(task: Task, data: str | None) -> dict[str, str]:
    """Checksums of the optional files found, which decide a task's numbers too; other checksums are in its source."""
    paths = {file.path: find_file(file, data) for file in task.files if file.optional}
    return {name: checksum(path) for name, path in paths.items() if path is not None}
