"""A step rehearsed on a few cases by a twin of its optimiser, for the memory it takes (`hfbench.memory.forecast`)."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from hfbench.curvature.work_ledger import Ledger
from hfbench.hessian_free.backtracking import KeptIterates
from hfbench.hessian_free.optimizer_state import ParameterGroup
from hfbench.inner_solve.preconditioning import begin
from hfbench.linalg.data_parallel import ALONE
from hfbench.linalg.scalars import AHEAD, stays
from hfbench.linalg.vector import Vector
from hfbench.memory.allocations import reserve
from hfbench.memory.forecast import Forecast, Plan, Sizes, few, held_by, plan
from hfbench.parts.protocols import Factor, SolverState, System

if TYPE_CHECKING:
    from hfbench.hessian_free.optimizer import HessianFree

ITERATIONS = 2

Pair = tuple[Tensor, Tensor]


def plan_of_step(optimizer: HessianFree, batch: Pair, curvature: Pair | None, evidence: Collection[str]) -> Plan:
    """How the optimiser's next step on these cases is to be carried out.

    Without a limit, the peak of a step that cannot be rehearsed stays unknown: what is wrong, the step itself will say.
    """
    pairs = {"gradient": batch} if curvature is None else {"gradient": batch, "curvature": curvature}
    tensors = [one for pair in pairs.values() for one in pair]
    shapes = tuple((one.shape[1:], one.dtype) for one in tensors)
    modes = tuple(module.training for module in optimizer.model.modules())

    def forecast(sizes: Sizes) -> Forecast:
        key = shapes, modes, tuple(sorted(evidence)), tuple(sizes.items())
        if key not in optimizer.forecasts:
            optimizer.forecasts[key] = Forecast.of(_step(optimizer, pairs, evidence), sizes)
        return optimizer.forecasts[key]

    cases = {name: len(pair[0]) for name, pair in pairs.items()}
    held = held_by(optimizer.model, tensors)
    try:
        return plan(forecast, cases, held, optimizer.chunk, optimizer.max_bytes)
    except Exception:
        if optimizer.max_bytes is not None:
            raise
        return Plan(optimizer.chunk, None)


def _step(optimizer: HessianFree, pairs: Mapping[str, Pair], evidence: Collection[str]) -> Callable[[Sizes], None]:
    """A step of so many cases that goes on for `ITERATIONS` inner iterations and moves nothing."""
    first = {name: (few(inputs), few(targets)) for name, (inputs, targets) in pairs.items()}

    def rehearse(sizes: Sizes) -> None:
        some = {name: (x[: sizes[name]], t[: sizes[name]]) for name, (x, t) in first.items()}
        _twin(optimizer)._search(*some["gradient"], some.get("curvature"), evidence, sizes.get("chunk"))

    return rehearse


def _twin(optimizer: HessianFree) -> HessianFree:
    """An optimiser of the same model that takes the same step, shorter, and has all its state to itself."""
    twin = copy.copy(optimizer)
    group = twin.param_groups[0]
    # A solve with lambda >= 1 meets nothing singular, and one try of the line search is the same whatever the cases.
    twin.param_groups = [ParameterGroup({**group, "damping": max(group["damping"], 1.0)})]
    twin.globalization = replace(twin.globalization, max_tries=1, keep_start=ITERATIONS + 2)
    twin.rules, twin.ledger, twin.generator = [], Ledger(), torch.Generator(optimizer.generator.device)
    twin.preconditioning = begin(optimizer.preconditioner, optimizer.model)
    twin.solver = _Short(optimizer)
    twin.state, twin.ranks = defaultdict(dict), ALONE  # of the cases here
    if optimizer.globalization.warm_start:  # as every step but the first has
        twin._keep_for_warm_start(twin.layout.pack(twin.weights.zeros_like()))
    return twin


class _Short:
    """The optimiser's solver, ended soon, with the memory of the iterates that it would keep in the end."""

    monotone: ClassVar[tuple[str, ...]] = ()

    def __init__(self, optimizer: HessianFree) -> None:
        self.solver, self.iterations = optimizer.solver, min(ITERATIONS, optimizer.max_inner)
        ahead = AHEAD if stays(optimizer.weights[0].device) else 0  # iterates made before the one before is looked at
        self.kept = (_kept(optimizer) + ahead) * sum(p.numel() * p.element_size() for p in optimizer.weights)

    def iterates(self, system: System, x0: Vector | None, preconditioner: Factor) -> Iterator[SolverState]:
        states = self.solver.iterates(system, x0, preconditioner)
        del x0  # the solver's to keep, if it needs it
        for state in islice(states, self.iterations + 1):
            if state.k == self.iterations - 1:
                reserve(self.kept)
            yield state


def _kept(optimizer: HessianFree) -> int:
    """How many iterates a solve keeps by its last of `max_inner` iterations, beside the two between which it is."""
    if not optimizer.globalization.backtracking:
        return 0
    kept = KeptIterates(optimizer.globalization.keep_start, optimizer.globalization.keep_growth)
    for k in range(optimizer.max_inner):
        state: Any = SimpleNamespace(k=k)
        kept(state)
    return len(kept.states) - 1
