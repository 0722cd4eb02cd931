"""Preflight: what would stop a run is raised before any run is begun."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import wait
from contextlib import closing
from itertools import count
from pathlib import Path

from rich.console import Console

from hfbench.config.devices import device_of
from hfbench.config.run_spec import RunSpec
from hfbench.errors import ConfigError, HfbenchError
from hfbench.execution.part_shipping import AddedPart, added_parts
from hfbench.execution.processes import Processes
from hfbench.execution.progress import counting
from hfbench.interrupts import interruptible, is_interrupt, raise_if_interrupted
from hfbench.parts import registry
from hfbench.parts.data_files import locate
from hfbench.records.run_folder import RunFolder

LOOK_EVERY = 0.1  # seconds between two looks at whether a signal came
PATIENCE = 30.0  # seconds that all methods of a task may take, as a limit of `Processes.submit`


def missing_of(specs: Mapping[str, RunSpec], results: Path) -> dict[str, RunSpec]:
    return {key: spec for key, spec in specs.items() if not RunFolder(results, key).is_complete(spec.config())}


def preflight(specs: Iterable[RunSpec], data: str | None, console: Console, apart: bool = False) -> None:
    """Raises what would stop each method on each task at its first seed, before any run is begun.

    The console shows how far it is.
    ConfigError for a device that is not there, for a batch larger than the data, and for a target that the untrained
    model meets; DataError for missing files, NonFiniteError for a model whose outputs are not finite. Where runs have
    processes of their own (`apart`), the methods are looked at in one, too. What a part does there beside raising an
    HfbenchError, such as ending the process, is left to its runs to say.
    """
    first: dict[tuple[str, str], RunSpec] = {}
    for spec in specs:
        first.setdefault((spec.task, spec.method.name), spec)
    for name in {spec.device for spec in first.values()}:  # before files are fetched that it would take
        device_of(name)
    for spec in first.values():
        for file in registry.get("task", spec.task_settings["use"]).files:
            if not file.optional:
                with interruptible():  # it may be fetched
                    locate(file, data)
    by_task: dict[str, list[RunSpec]] = {}
    for spec in first.values():
        by_task.setdefault(spec.task, []).append(spec)
    with counting(console, "checking the methods", len(first)) as checked:
        done = count(1)
        for of_task in by_task.values():
            if apart:
                _check_apart(of_task, data)
                checked(max(next(done) for _ in of_task))
                continue
            for _ in _check_first_runs(of_task, data):
                checked(next(done))


def _check_apart(specs: Sequence[RunSpec], data: str | None) -> None:
    with closing(Processes(1)) as engine:
        future = engine.submit(_check_each, added_parts(specs), specs, data, limit=PATIENCE)
        while not wait([future], LOOK_EVERY).done:
            raise_if_interrupted()
        try:
            future.result()
        except HfbenchError:
            raise
        except BaseException as error:
            if is_interrupt(error):
                raise


def _check_each(parts: Sequence[AddedPart], specs: Sequence[RunSpec], data: str | None) -> None:
    """In a process of its own, which may end: what is no HfbenchError keeps no other method from being looked at."""
    from hfbench.runs.meters import Stopwatch

    registry.forget()
    for part in parts:
        part.add()
    for spec in specs:
        with Stopwatch():  # it has to return
            try:
                list(_check_first_runs([spec], data))
            except HfbenchError:
                raise
            except BaseException:
                continue


def _check_first_runs(specs: Sequence[RunSpec], data: str | None) -> Iterator[RunSpec]:
    """Checks runs of one task and seed, and gives each when it is checked.

    All begin with the same weights. To make these takes longer than all else that is checked, so the Hessian-free
    methods, which leave them alone until their first step, are checked on one model.
    """
    from hfbench.parts.protocols import BatchPlan
    from hfbench.runs.attempt import single_threaded
    from hfbench.runs.build import begin_schedule, build_optimizer, load_data
    from hfbench.runs.run import LiveRun

    if not specs:
        return
    with single_threaded(), interruptible():
        loaded = load_data(specs[0], data)
    shared: LiveRun | None = None
    for spec in specs:
        # Batches that are met again are checked with the method that they come from.
        recorded = [BatchPlan(1, 1, "random", "")] if spec.follows else None
        with single_threaded(), interruptible():
            if shared is None or spec.method.optimizer is not None:
                live = LiveRun(spec, loaded, recorded)
                shared = live if spec.method.optimizer is None else shared
                if spec is specs[0]:
                    live.begin()
                    _check_target(spec, live.rows[0][spec.target_column])
            else:
                begin_schedule(spec, len(loaded.train), recorded)
                build_optimizer(shared.model, shared.task, spec)
        yield spec


def _check_target(spec: RunSpec, untrained: float) -> None:
    if spec.target >= untrained:
        raise ConfigError(
            f"study.targets.{spec.task}: must lie below the {spec.target_on} error of the untrained model, "
            f"{untrained:.4g} for seed {spec.seed}, but is {spec.target:g}: every run would reach it at its first step."
        )
