"""One step of the Hessian-free method, from top to bottom as in Martens (2010): `compute_step`."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hfbench.curvature.feature_scale import said_of_large
from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.objective import objective
from hfbench.curvature.weight_decay import decay_penalty
from hfbench.curvature.work_ledger import Ledger
from hfbench.errors import NonFiniteError
from hfbench.hessian_free.backtracking import KeptIterates, backtrack
from hfbench.hessian_free.damping import reduction_ratio, update_damping
from hfbench.hessian_free.globalization import Globalization, Objective
from hfbench.hessian_free.line_search import LineStep, line_search
from hfbench.hessian_free.step_result import StepResult, StepSystem
from hfbench.inner_solve.solve import Solution, solve
from hfbench.inner_solve.subspace_start import subspace_start
from hfbench.inner_solve.system import GaussNewtonSystem
from hfbench.linalg.data_parallel import Ranks
from hfbench.linalg.layout import Layout
from hfbench.linalg.vector import Vector, empty_vector
from hfbench.parts.protocols import (
    BuiltPreconditioner,
    InnerSolver,
    Preconditioner,
    PreconditionerState,
    Rule,
    SolverState,
)

Batch = tuple[Tensor, Tensor]  # inputs and targets


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """Settings of a step, the same for every step of a run.

    A step draws from `generator`, counts in `ledger` and updates `preconditioning`. It changes nothing else.
    """

    model: nn.Module
    parameters: Mapping[str, nn.Parameter]  # those that are trained, by name
    loss: str
    solver: InnerSolver
    preconditioner: Preconditioner
    preconditioning: PreconditionerState  # what the preconditioner keeps from step to step
    rules: Sequence[Rule]
    globalization: Globalization
    mu_D: tuple[float, ...]
    layout_name: str
    layout: Layout
    precision: str
    gradient_precision: str
    right_hand_side: str
    max_inner: int
    generator: torch.Generator
    ledger: Ledger
    ranks: Ranks

    @property
    def weights(self) -> Vector:
        return Vector(parameter.detach() for parameter in self.parameters.values())

    def linearised(self, cases: Batch, chunk: int | None) -> Linearisation:
        return Linearisation(
            self.model,
            self.loss,
            *cases,
            chunk=chunk,
            layout=self.layout_name,
            precision=self.precision,
            gradient_precision=self.gradient_precision,
            ledger=self.ledger,
            ranks=self.ranks,
        )

    def objective_on(self, cases: Batch, chunk: int | None) -> Objective:
        """The function p ↦ f(w + p) on these cases. It leaves the weights unchanged, and each evaluation is counted."""

        def f(p: Vector) -> float:
            self.ledger.count("evaluation", len(cases[0]))
            w = self.weights + self.layout.unpack(p)
            named = dict(zip(self.parameters, w, strict=True))
            return objective(self.model, self.loss, *cases, self.mu_D, chunk, named, ranks=self.ranks)

        return f


@dataclass(frozen=True)
class StepOutcome:
    """A step that is computed but not taken: its direction p, and the inner solve that gave it."""

    result: StepResult
    p: Vector
    solution: Solution


def compute_step(
    settings: StepSettings,
    damping: float,
    last_iterate: Sequence[Tensor] | None,
    batch: Batch,
    curvature: Batch | None = None,
    evidence: Collection[str] = (),
    chunk: int | None = None,
) -> StepOutcome:
    """Computes the step from the present weights, which do not change; Martens (2010), algorithm 2 and section 4.

    Gradient and objective are over `batch`, the curvature over `curvature` or the same cases, `chunk` cases at a time.
    `damping` is lambda; `last_iterate` is that of the previous step, or None; `evidence` is as in `HessianFree.step`.
    Raises NonFiniteError if the gradient is not finite. The result's `iteration` is 0.
    """
    shared = curvature is None
    linear = system_at(settings, damping, batch, curvature, evidence, chunk)  # linearise and precondition
    f_0, f_c, g, measured = linear.f_0, linear.f_c, linear.system.gradient, linear.evidence
    iterates, solution = _solve(settings, linear, last_iterate)
    used = _what_was_used(settings, linear.system)
    del linear  # the graph is not needed from here on, and large

    f = settings.objective_on(batch, chunk)
    chosen, f_1 = _backtrack(settings.globalization, iterates, f, shared)
    p = chosen.x

    f_of_curvature = f if curvature is None else settings.objective_on(curvature, chunk)
    rho = _reduction_ratio(settings.globalization, chosen, damping, f_c, f_of_curvature, f_1 if shared else None)
    next_damping = update_damping(settings.globalization, damping, rho)

    step = _line_search(settings.globalization, f, p, f_0, f_1, g.dot(p))
    result = StepResult(
        iteration=0,
        objective_before=f_0,
        objective_after=None if math.isnan(step.value) else step.value,
        **measured,
        damping=damping,
        next_damping=next_damping,
        rho=rho,
        inner_iterations=solution.last.k,
        chosen_iterate=chosen.k,
        stop_reason=solution.stop.name.lower(),
        step_length=step.length,
        step_norm=step.length * p.norm(),
        q=chosen.q,
        **used,
    )
    return StepOutcome(result, p, solution)


def system_at(
    settings: StepSettings,
    damping: float,
    batch: Batch,
    curvature: Batch | None = None,
    evidence: Collection[str] = (),
    chunk: int | None = None,
) -> StepSystem:
    """System (1) at the present weights, its preconditioner, and the evidence; arguments as `compute_step`.

    One batch's graph is freed before the next one is recorded.
    """
    at = settings.linearised(batch, chunk)
    g = at.gradient.add(settings.layout.pack(settings.weights), settings.layout.spread(settings.mu_D))
    gradient_norm = g.norm()
    penalty = decay_penalty(settings.weights, settings.mu_D)
    f_0 = at.value + penalty
    if not math.isfinite(gradient_norm):
        said = said_of_large(batch[0])
        raise NonFiniteError(f"the gradient must be finite, but its norm is {gradient_norm}.{said}")
    measured = {
        "gradient_norm": gradient_norm,
        "variance_l1": at.variance_l1 if "variance_l1" in evidence else None,
        "variance_inner": at.variance_along(g) if "variance_inner" in evidence else None,
    }
    del at.gradient  # g has it, decay added
    on_gradient = curvature is None or settings.preconditioner.cases == "gradient"
    M = _preconditioner_at(settings, at, damping) if on_gradient else None
    if curvature is not None and chunk is None and is_beginning(curvature, batch):
        at = at.first(len(curvature[0]))
    elif curvature is not None:
        del at
        at = settings.linearised(curvature, chunk)
    if M is None:
        M = _preconditioner_at(settings, at, damping)
    f_c = at.value + penalty if settings.globalization.adapt_damping else math.nan  # for rho
    at.keep_for_products()
    form = settings.right_hand_side
    system = GaussNewtonSystem(at, g, damping, settings.mu_D, shares_cases=curvature is None, right_hand_side=form)
    return StepSystem(system, M, f_0, f_c, measured)


def is_beginning(part: Batch, batch: Batch) -> bool:
    """Whether these are the first cases of a batch, in its memory."""

    def place(tensor: Tensor) -> tuple[Any, ...]:
        return tensor.data_ptr(), tensor.dtype, tensor.stride()

    pairs = list(zip(part, batch, strict=True))
    return all(len(cases) <= len(whole) and place(cases) == place(whole) for cases, whole in pairs)


def initial_iterate(settings: StepSettings, linear: StepSystem, last_iterate: Sequence[Tensor] | None) -> Vector | None:
    """The iterate that a solve starts from; None for zero."""
    x0 = _warm_start(settings, last_iterate)
    if not settings.globalization.subspace_start:
        return x0
    return subspace_start(linear.system, linear.preconditioner, x0)


def _warm_start(settings: StepSettings, last_iterate: Sequence[Tensor] | None) -> Vector | None:
    """zeta times the last iterate of the previous step; None before the first step or when switched off."""
    zeta = settings.globalization.warm_start
    if zeta == 0 or last_iterate is None:
        return None
    last = settings.layout.pack(last_iterate)
    x0 = empty_vector(last)  # its blocks lie side by side, as a loaded iterate's need not
    for into, block in zip(x0, last, strict=True):
        torch.mul(block, zeta, out=into)
    return x0


# ---------------------------------------------------------------- its pieces, each a switch


def _preconditioner_at(settings: StepSettings, at: Linearisation, damping: float) -> BuiltPreconditioner:
    shift = settings.layout.spread([mu + damping for mu in settings.mu_D])
    return settings.preconditioning.build(at, shift, settings.generator)


def _solve(
    settings: StepSettings, linear: StepSystem, last_iterate: Sequence[Tensor] | None
) -> tuple[list[SolverState], Solution]:
    """Runs the inner solve; gives the kept iterates and its result."""
    switches = settings.globalization
    kept = KeptIterates(switches.keep_start, switches.keep_growth)
    solution = solve(
        settings.solver,
        linear.system,
        initial_iterate(settings, linear, last_iterate),
        linear.preconditioner,
        settings.rules,
        [kept] if switches.backtracking else [],
        settings.max_inner,
    )
    return kept.states or [solution.last], solution


def _what_was_used(settings: StepSettings, system: GaussNewtonSystem) -> dict[str, Any]:
    """Fields of `StepResult` about the solve of the system."""
    least_squares = "right_hand_side_form" in vars(system)
    return {
        "preconditioner": type(settings.preconditioner).__name__,
        "right_hand_side": system.right_hand_side_form if least_squares else "",
        "product_mode": system.linearisation.product_mode,
        "precision": system.linearisation.precision.name,
    }


def _backtrack(
    switches: Globalization, iterates: list[SolverState], f: Objective, shared: bool
) -> tuple[SolverState, float]:
    """The chosen iterate and f there: NaN if not needed, as for rho when gradient and curvature have other cases."""
    if switches.backtracking or switches.line_search or (switches.adapt_damping and shared):
        return backtrack(iterates, f)
    return iterates[-1], math.nan


def _reduction_ratio(
    switches: Globalization,
    chosen: SolverState,
    damping: float,
    before: float,
    f: Objective,
    after: float | None,
) -> float | None:
    """rho of the chosen iterate; None if damping is not adapted. `after` is f(p) if it is already known."""
    if not switches.adapt_damping:
        return None
    p = chosen.x
    return reduction_ratio(before, f(p) if after is None else after, chosen.q - 0.5 * damping * p.dot(p))


def _line_search(switches: Globalization, f: Objective, p: Vector, f_0: float, f_1: float, slope: float) -> LineStep:
    return line_search(switches, f, p, f_0, f_1, slope) if switches.line_search else LineStep(1.0, f_1)
