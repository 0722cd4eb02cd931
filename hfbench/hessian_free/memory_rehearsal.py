"""Rehearsal of a step on a few cases, which measures its memory (`hfbench.memory.forecast`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from dataclasses import replace
from itertools import islice, takewhile
from typing import Any, ClassVar

import torch

from hfbench.curvature.work_ledger import Ledger
from hfbench.hessian_free.backtracking import kept_indices
from hfbench.hessian_free.step import Batch, StepSettings, compute_step, is_beginning
from hfbench.inner_solve.preconditioning import begin_preconditioning
from hfbench.linalg.data_parallel import ALONE
from hfbench.linalg.scalars import AHEAD, is_on_gpu
from hfbench.linalg.vector import Vector
from hfbench.memory.allocations import reserve
from hfbench.memory.forecast import ChunkPlan, Forecast, Sizes, first_cases, plan_chunk, resident_bytes
from hfbench.parts.protocols import BuiltPreconditioner, SolverState, System

ITERATIONS = 2


def plan_of_step(
    settings: StepSettings,
    damping: float,
    batch: Batch,
    curvature: Batch | None,
    evidence: Collection[str],
    chunk: int | None,
    max_bytes: int | None,
    forecasts: MutableMapping[Any, Forecast],
) -> ChunkPlan:
    """Plan of the next step on these cases: the chunk that keeps it below `max_bytes`, and its memory peak.

    `forecasts` caches rehearsals by shapes. Without a limit, the peak of a step that cannot be rehearsed stays unknown;
    the step itself reports the error.
    """
    pairs = {"gradient": batch} if curvature is None else {"gradient": batch, "curvature": curvature}
    tensors = [tensor for pair in pairs.values() for tensor in pair]
    shapes = tuple((tensor.shape[1:], tensor.dtype) for tensor in tensors)
    modes = tuple(module.training for module in settings.model.modules())
    shared = curvature is not None and is_beginning(curvature, batch)

    def forecast(sizes: Sizes) -> Forecast:
        key = shapes, modes, shared, tuple(sorted(evidence)), tuple(sizes.items())
        if key not in forecasts:
            forecasts[key] = Forecast.of(_rehearsal(settings, damping, pairs, evidence), sizes)
        return forecasts[key]

    cases = {name: len(pair[0]) for name, pair in pairs.items()}
    held = resident_bytes(settings.model, tensors)
    try:
        return plan_chunk(forecast, cases, held, chunk, max_bytes)
    except Exception:
        if max_bytes is not None:
            raise
        return ChunkPlan(chunk, None)


def _rehearsal(
    settings: StepSettings, damping: float, pairs: Mapping[str, Batch], evidence: Collection[str]
) -> Callable[[Sizes], None]:
    """Makes a step of so many cases with `ITERATIONS` inner iterations, without moving the weights."""
    first = {name: (first_cases(inputs), first_cases(targets)) for name, (inputs, targets) in pairs.items()}
    if "curvature" in pairs and is_beginning(pairs["curvature"], pairs["gradient"]):
        first["curvature"] = first["gradient"]

    def rehearse(sizes: Sizes) -> None:
        some = {name: (x[: sizes[name]], t[: sizes[name]]) for name, (x, t) in first.items()}
        last_iterate = _some_iterate(settings)
        # A solve with lambda >= 1 meets nothing singular.
        compute_step(
            _shortened(settings),
            max(damping, 1.0),
            last_iterate,
            some["gradient"],
            some.get("curvature"),
            evidence,
            sizes.get("chunk"),
        )

    return rehearse


def _some_iterate(settings: StepSettings) -> Vector | None:
    """A stand-in for the last iterate of the previous step, which every step but the first has."""
    if not settings.globalization.warm_start:
        return None
    return settings.layout.unpack(settings.layout.pack(settings.weights.zeros_like()))


def _shortened(settings: StepSettings) -> StepSettings:
    """The settings of a shortened step, with copies of all that a step changes."""
    # One try of the line search is the same whatever the cases.
    globalization = replace(settings.globalization, max_tries=1, keep_start=ITERATIONS + 2)
    return replace(
        settings,
        globalization=globalization,
        rules=[],
        ledger=Ledger(),
        generator=torch.Generator(settings.generator.device),
        preconditioning=begin_preconditioning(settings.preconditioner, settings.model),
        solver=_Short(settings),
        ranks=ALONE,  # of the cases here
    )


class _Short:
    """The solver of a step, stopped early, with the memory of the iterates that it would keep at its end."""

    monotone: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: StepSettings) -> None:
        self.solver, self.iterations = settings.solver, min(ITERATIONS, settings.max_inner)
        weights = settings.weights
        ahead = AHEAD if is_on_gpu(weights[0].device) else 0  # iterates made before the one before is looked at
        self.kept = (_kept(settings) + ahead) * sum(block.numel() * block.element_size() for block in weights)

    def iterates(self, system: System, x0: Vector | None, preconditioner: BuiltPreconditioner) -> Iterator[SolverState]:
        states = self.solver.iterates(system, x0, preconditioner)
        del x0  # the solver's to keep, if it needs it
        for state in islice(states, self.iterations + 1):
            if state.k == self.iterations - 1:
                reserve(self.kept)
            yield state


def _kept(settings: StepSettings) -> int:
    """Number of iterates that a solve of `max_inner` iterations keeps, besides the two that it works on."""
    switches = settings.globalization
    if not switches.backtracking:
        return 0
    indices = kept_indices(switches.keep_start, switches.keep_growth)
    return sum(1 for _ in takewhile(lambda index: index < settings.max_inner - 1, indices))
