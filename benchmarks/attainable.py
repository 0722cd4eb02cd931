"""Accuracy that inner solvers attain with products of few digits: CG, MINRES, LSQR and LSMR on one frozen system.

The system is that of an autoencoder after some steps of training, with 1000 cases, at two dampings lambda. Recurrences
are always in float32, except for "exact", which is all in float64. All iterates are judged in float64 at the same
weights:
    attained      the smallest ‖-g - A x_k‖ / ‖g‖ of 150 iterations, and the iteration, among those judged
    stops         the iteration at which the rule `relative-progress` stops, by the solver's own q
    q / exact     the quadratic at that iterate over the one where the same solver stops in the exact system: 1 means
                  no loss, 0 no gain
LSMR and LSQR work with Ã, whose condition number is the square root of A's. The question is whether that helps with few
digits.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hfbench import HessianFree, registry
from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.weight_decay import decay_per_block
from hfbench.errors import DataError
from hfbench.inner_solve.system import GaussNewtonSystem
from hfbench.linalg.vector import Vector
from hfbench.parts.protocols import InnerSolver, Preconditioner, Task
from hfbench.runs.random_streams import generator
from hfbench.solvers.stopping import RelativeProgress

from .precision import precisions
from .runner import Options, Row

TITLE = "What solvers attain with products of few digits, on one frozen system"
COLUMNS = {
    "system": "system",
    "preconditioner": "preconditioner",
    "solver": "solver",
    "precision": "products",
    "attained": "attained",
    "at": "at",
    "iterations": "stops",
    "q": "q / exact",
}
TASKS = ("usps", "curves")  # the second is generated
SOLVERS = ("cg", "minres", "lsqr", "lsmr")
PRECONDITIONERS = ("identity", "chapelle-erhan")
DAMPINGS = (1.0, 0.01)
CASES, STEPS, MOST, SEED = 1000, 8, 150, 0
QUICK = {"cases": 100, "steps": 1, "most": 12}
EXACT = "exact"


@dataclass(frozen=True)
class Frozen:
    """A network after some training, with the cases of the system."""

    name: str
    task: Task
    model: nn.Module
    inputs: torch.Tensor

    def system(self, damping: float, precision: str) -> GaussNewtonSystem:
        """The system with products of that precision; `EXACT` for all of it in float64."""
        exact = precision == EXACT
        model, x = (copy.deepcopy(self.model).double(), self.inputs.double()) if exact else (self.model, self.inputs)
        at = Linearisation(model, self.task.loss, x, x, precision="parameters" if exact else precision)
        mu_D = decay_per_block(at.blocks, self.task.decay, self.task.decay_mask)
        return GaussNewtonSystem(at, at.gradient + at.parameters * mu_D, damping, mu_D, shares_cases=True)


def rows(options: Options) -> Iterator[Row]:
    size = QUICK if options.quick else {"cases": CASES, "steps": STEPS, "most": MOST}
    frozen = trained(options.data, size["cases"], size["steps"])
    names = [EXACT, *precisions()]
    for damping in DAMPINGS[:1] if options.quick else DAMPINGS:
        systems = {name: frozen.system(damping, name) for name in names}
        for preconditioner in PRECONDITIONERS[:1] if options.quick else PRECONDITIONERS:
            for solver in SOLVERS:
                yield from _compared(frozen.name, systems, solver, preconditioner, size["most"])


def trained(data: str | None, cases: int, steps: int) -> Frozen:
    """USPS, or CURVES if the files of USPS are missing, after some steps with fresh batches."""
    name, task, train = _data(data)
    model = task.model(generator(SEED, "weights"))
    optimizer = HessianFree(
        model, task.loss, preconditioner="chapelle-erhan", decay=task.decay, decay_mask=task.decay_mask
    )
    order = torch.randperm(len(train), generator=generator(SEED, "order"))
    for step in range(steps + 1):
        x = train[order[(step * cases) % len(train) :][:cases]]
        if step < steps:
            optimizer.step(x, x)
    return Frozen(name, task, model, x)


def _data(data: str | None) -> tuple[str, Task, torch.Tensor]:
    """The data of the first task whose files exist."""
    missing: DataError | None = None
    for name in TASKS:
        task: Task = registry.build("task", name)
        try:
            return name, task, task.load(generator(SEED, "split"), data).train.inputs
        except DataError as error:
            missing = missing or error
    raise missing or ValueError("no tasks")


def _compared(
    task: str, systems: dict[str, GaussNewtonSystem], solver_name: str, preconditioner: str, most: int
) -> Iterator[Row]:
    exact = systems[EXACT]
    best: float | None = None
    for precision, system in systems.items():
        path = follow(system, exact, solver_name, preconditioner, most)
        best = path.q if best is None else best
        yield {
            "system": f"{task}, {exact.damping:g}",
            "preconditioner": preconditioner,
            "solver": solver_name,
            "precision": precision,
            "attained": path.attained,
            "at": path.at,
            "iterations": path.iterations,
            "q": path.q / best,
        }


@dataclass
class Path:
    """Course of a solve, judged in float64."""

    attained: float = float("inf")
    at: int = 0
    iterations: int = 0
    q: float = 0.0


def follow(
    system: GaussNewtonSystem, exact: GaussNewtonSystem, solver_name: str, preconditioner: str, most: int
) -> Path:
    """The solver's iterates on `system`, beyond the rule up to `most`, judged by `exact`."""
    solver: InnerSolver = registry.build("solver", solver_name, "solver")
    factory: Preconditioner = registry.build("preconditioner", preconditioner, "preconditioner")
    M = factory.build(system.linearisation, system.shift, generator(SEED, "probes"))
    path, test, stopped, look = Path(), RelativeProgress().begin(), False, 1.0
    for state in solver.iterates(system, None, M):
        is_last = state.k >= most or state.breakdown is not None
        stops = not stopped and (test(state) is not None or is_last)
        if stops or is_last or state.k >= look:
            residual, q = _judged(exact, state)
            look = max(look * 1.2, state.k + 1)
            if residual < path.attained:
                path.attained, path.at = residual, state.k
        if stops:
            stopped, path.iterations, path.q = True, state.k, q
        if is_last:
            break
    return path


def _judged(exact: GaussNewtonSystem, state: Any) -> tuple[float, float]:
    """‖-g - A x‖/‖g‖ and q(x) = gᵀx + ½ xᵀAx in float64."""
    x, g = Vector(block.double() for block in state.x), exact.gradient
    Ax = exact.multiply(x)
    return (g + Ax).norm() / g.norm(), g.dot(x) + 0.5 * x.dot(Ax)
