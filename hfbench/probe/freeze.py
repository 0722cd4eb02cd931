"""Runs trained again to freeze their systems at chosen iterations; no record is written or changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hfbench.config.run_spec import RunSpec
from hfbench.errors import ConfigError
from hfbench.hessian_free.optimizer import HessianFree
from hfbench.linalg.vector import Vector
from hfbench.parts.protocols import BatchPlan
from hfbench.probe.frozen_system import FrozenSystem, freeze
from hfbench.runs.attempt import single_threaded
from hfbench.runs.build import load_data
from hfbench.runs.run import LiveRun


def frozen_systems(
    spec: RunSpec, at: Sequence[int], data: str | None = None, recorded: Sequence[BatchPlan] | None = None
) -> Iterator[FrozenSystem]:
    """The systems of the iterations `at` (1, 2, …) of a run, which takes the same steps as the recorded one.

    `recorded` are the batches that a method with `batches_of` replays. If the run ends earlier, fewer systems come.
    Raises ConfigError for a baseline, which solves no system, and for an iteration below 1.
    """
    _check(spec, at)
    wanted = set(at)
    with single_threaded():
        live = LiveRun(spec, load_data(spec, data), recorded)
        live.begin()
        before: Vector | None = None
        while wanted and live.outcome is None:
            iteration = len(live.rows)
            if iteration in wanted:
                wanted.remove(iteration)
                yield _frozen(live, iteration, before)
            if not wanted:
                return
            optimizer: Any = live.optimizer
            before = Vector(optimizer.weights).clone() if iteration + 1 in wanted else None
            live.advance()


def _frozen(live: LiveRun, iteration: int, before: Vector | None) -> FrozenSystem:
    optimizer = live.optimizer
    assert isinstance(optimizer, HessianFree)
    step = None if before is None else optimizer.weights - before
    cases = live.cases_of(iteration, live.schedule.plan)
    return freeze(live.spec, iteration, live.data, live.model, optimizer, cases, step)


def _check(spec: RunSpec, at: Sequence[int]) -> None:
    if spec.method.optimizer is not None:
        raise ConfigError(
            f"methods.{spec.method.name}: must be a Hessian-free method to have systems, but this is a baseline, "
            "which solves none; leave it out with --only."
        )
    if not at or min(at) < 1:
        raise ConfigError(f"iterations to capture must be whole numbers from 1, but got {list(at)}.")
