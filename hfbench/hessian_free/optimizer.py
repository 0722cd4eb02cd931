"""Hessian-free optimisation: one damped Gauss-Newton system per step, solved by an inner Krylov solver."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Never

import torch
from torch import Tensor, nn

from hfbench.curvature.double_backward import twice_differentiable
from hfbench.curvature.linearisation import Linearisation, check_chunk
from hfbench.curvature.loss import check_loss
from hfbench.curvature.objective import objective
from hfbench.curvature.weight_decay import decay_penalty
from hfbench.curvature.work_ledger import Ledger
from hfbench.errors import ConfigError, NonFiniteError
from hfbench.hessian_free.backtracking import KeptIterates, backtrack
from hfbench.hessian_free.damping import reduction_ratio
from hfbench.hessian_free.globalization import Globalization
from hfbench.hessian_free.line_search import Step, line_search
from hfbench.hessian_free.memory_rehearsal import plan_of_step
from hfbench.hessian_free.model_guard import Guard
from hfbench.hessian_free.optimizer_state import ParameterGroup, check_state, shapes
from hfbench.hessian_free.settings import (
    check_evidence,
    check_no_other,
    check_settings,
    decay_of,
    generator_of,
    globalization_of,
)
from hfbench.hessian_free.step_result import Posed, StepResult
from hfbench.inner_solve.preconditioning import begin
from hfbench.inner_solve.solve import Solution, check_preconditioner, check_rules, solve
from hfbench.inner_solve.system import GaussNewtonSystem
from hfbench.linalg.data_parallel import ranks_of
from hfbench.linalg.layout import layout_of
from hfbench.linalg.precision import precision_of
from hfbench.linalg.vector import Vector
from hfbench.memory.byte_sizes import bytes_of
from hfbench.memory.forecast import Forecast, Plan
from hfbench.parts import registry
from hfbench.parts.hyperparameters import located
from hfbench.parts.protocols import Factor, InnerSolver, Preconditioner, Rule, SolverState, Stop

PARTED = "they have parted, so run all on the same kind of machine, with the same libraries and as many threads"


class HessianFree(torch.optim.Optimizer):
    """Martens' (2010) Hessian-free method for any model, with interchangeable solver, preconditioner and rules.

    Each `step(inputs, targets)` minimises q(p) = gᵀp + ½ pᵀ(G + mu D + lambda I)p approximately and moves w along p.
    The objective is f(w) = (1/n) Σ loss(z_i, t_i) + (mu/2) wᵀDw, z the model's outputs before any final activation.

        optimizer = hfbench.HessianFree(model, loss="softmax", solver="lsmr", preconditioner="chapelle-erhan")
        for inputs, targets in batches:
            result = optimizer.step(inputs, targets)

    Parts are given by name, as {"use": name, **hyper-parameters}, or as instances. `decay` is mu, of the blocks that
    `decay_mask` says: "weights" (two or more dimensions), "all" or "none"; or a mapping from parameters' names to each
    one's own mu. `chunk` streams batches through the model so many cases at a time, `max_bytes` (4_000_000_000, "4GB",
    "512MiB") so many that a step's tensors stay below it; with both, both hold. `layout` "flat" solves with one long
    vector instead of blocks. `precision` is that of the curvature products: "parameters", as the weights, "auto",
    "float64", "float32", "tf32" or "bfloat16" (`hfbench.linalg.precision`). Work is counted in `ledger`.

    With a `process_group` of `torch.distributed` (gloo or nccl) each of its ranks gives `step` cases of its own, and
    all take the step of all cases together (`hfbench.linalg.data_parallel`): same model, same settings, any numbers of
    cases. Every call is one of all ranks; the ledger counts a rank's own cases.

    Trained are the parameters with requires_grad at the construction, in float32 or float64 and on one device. The
    model must be the same function of each case at every pass: no dropout or batch statistics, which eval() switches
    off. What cannot be right is refused with a ConfigError (`hfbench.curvature.model_checks`,
    `hfbench.hessian_free.model_guard`).
    """

    def __init__(
        self,
        model: nn.Module,
        loss: str = "logistic",
        *,
        solver: str | Mapping[str, Any] | InnerSolver = "cg",
        preconditioner: str | Mapping[str, Any] | Preconditioner = "martens",
        rules: Sequence[str | Mapping[str, Any] | Rule] = ("relative-progress",),
        globalization: Globalization | Mapping[str, Any] | None = None,
        decay: float | Mapping[str, float] = 0.0,
        decay_mask: str = "weights",
        seed: int | torch.Generator = 0,
        max_inner: int = 250,
        right_hand_side: str = "auto",
        chunk: int | None = None,
        max_bytes: int | str | None = None,
        layout: str = "structured",
        precision: str = "parameters",
        process_group: Any = None,
        **other: Never,
    ) -> None:
        check_no_other(other)
        if max_inner < 1:
            raise ConfigError(f"max_inner: must be at least 1, but got {max_inner}.")
        self._guard = Guard(model)
        self.model, self.loss = model, check_loss(loss)
        self.solver: InnerSolver = registry.build("solver", solver, "solver")
        self.preconditioner: Preconditioner = registry.build("preconditioner", preconditioner, "preconditioner")
        self.rules: list[Rule] = [registry.build("rule", rule, "rules") for rule in rules]
        check_rules(self.rules, self.solver)
        check_preconditioner(self.solver, self.preconditioner)
        self.preconditioning = begin(self.preconditioner, model)
        self.globalization = globalization_of(globalization)
        self.max_inner, self.right_hand_side = max_inner, right_hand_side
        self.chunk, self.max_bytes = check_chunk(chunk), bytes_of(max_bytes)
        self.forecasts: dict[Any, Forecast] = {}  # of the memory of steps, by the shapes they were rehearsed for
        self.generator = generator_of(seed)
        self.ledger = Ledger()
        self._named = self._guard.trained
        self.mu_D = decay_of(self._named, decay, decay_mask)
        self.precision = precision
        precision_of(precision, next(iter(self._named.values())))  # refuses what this machine has not
        self.layout_name, self.layout = layout, layout_of(layout, list(self._named.values()))
        self.ranks = ranks_of(process_group, next(iter(self._named.values())).device)
        state = {"damping": self.globalization.initial_damping, "iteration": 0, "generator": self.generator.get_state()}
        super().__init__(list(self._named.values()), {**state, "shapes": shapes(self._named.values())})
        check_settings(self)

    # ------------------------------------------------------------ state

    @property
    def damping(self) -> float:
        """lambda of the coming step."""
        return float(self.param_groups[0]["damping"])

    @property
    def iteration(self) -> int:
        """Steps done."""
        return int(self.param_groups[0]["iteration"])

    @property
    def weights(self) -> Vector:
        return Vector(p.detach() for p in self._named.values())

    @property
    def names(self) -> list[str]:
        """Of the trained parameters, as the model has them, in the order of `weights`."""
        return list(self._named)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the weights: lambda, warm start, random generator, iteration, what a preconditioner keeps."""
        self.param_groups[0]["generator"] = self.generator.get_state()
        self.param_groups[0].pop("preconditioner", None)
        if kept := self.preconditioning.state_dict():
            self.param_groups[0]["preconditioner"] = kept
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises ConfigError, and loads nothing, unless it is of a HessianFree for parameters of the same shapes.

        A preconditioner that keeps something from step to step must be the one that the state is of.
        """
        check_state(state_dict, self.param_groups[0]["shapes"])
        with located("state_dict"):
            self.preconditioning.load_state_dict(copy.deepcopy(state_dict["param_groups"][0].get("preconditioner", {})))
        super().load_state_dict(state_dict)
        self.generator.set_state(self.param_groups[0]["generator"].cpu())  # loading may have moved it

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__.copy()  # torch's own leaves the model out

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.param_groups = [ParameterGroup(group) for group in self.param_groups]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """For the constructor alone; afterwards raises ConfigError."""
        if self.param_groups:
            raise ConfigError(
                "HessianFree solves one system for all trained parameters of its model, so none can be added to it: "
                "set requires_grad before and construct it anew. Decay per parameter: decay={name: mu, …}."
            )
        super().add_param_group(ParameterGroup(param_group))

    def _warm_start(self) -> Vector | None:
        """zeta times the last iterate of the step before; None at first or when switched off."""
        zeta = self.globalization.warm_start
        if zeta == 0 or not self.state:
            return None
        return self.layout.pack([self.state[p]["warm_start"] for p in self._named.values()]) * zeta

    def _keep_for_warm_start(self, x: Vector) -> None:
        for parameter, block in zip(self._named.values(), self.layout.unpack(x), strict=True):
            self.state[parameter] = {"warm_start": block}  # a new one: state_dict gives out the old

    # ------------------------------------------------------------ the step

    def step(  # type: ignore[override]
        self,
        inputs: Tensor | None = None,
        targets: Tensor | None = None,
        curvature: tuple[Tensor, Tensor] | None = None,
        evidence: Collection[str] = (),
    ) -> StepResult:
        """One outer iteration: gradient on (inputs, targets), curvature on `curvature` or the same cases.

        `evidence` asks for "variance_l1", ‖Var_i(∇f_i)‖₁ over the gradient's cases, or "variance_inner",
        Var_i(∇f_iᵀ∇f). Raises NonFiniteError if outputs, loss or gradient at the present weights are not finite, and
        ConfigError for other evidence, a batch that does not fit, or a model that cannot be stepped right. After any
        error weights and state are what they were; work that was done stays counted.
        """
        planned = self.prepare(inputs, targets, curvature, evidence)
        assert inputs is not None  # which has seen to both
        assert targets is not None
        drawn, kept = self.generator.get_state(), self.preconditioning.state_dict()
        try:
            with twice_differentiable(self.model):
                result, p, solution = self._search(inputs, targets, curvature, evidence, planned.chunk)
            self.ranks.check_alike({"step": (result.objective_before, result.step_length, result.next_damping)}, PARTED)
        except BaseException:
            self.generator.set_state(drawn)
            self.preconditioning.load_state_dict(kept)
            raise
        self._move(p, result.step_length, result.next_damping)  # from here on nothing fails
        if solution.stop is Stop.NONFINITE:
            self.state.clear()  # a start that overflowed would do so again
        else:
            self._keep_for_warm_start(solution.last.x)
        return replace(result, predicted_memory=planned.peak)

    def prepare(
        self,
        inputs: Tensor | None,
        targets: Tensor | None,
        curvature: tuple[Tensor, Tensor] | None = None,
        evidence: Collection[str] = (),
    ) -> Plan:
        """How `step` is to take this batch, and the memory it will need; long only for the first batch of a shape.

        `step` asks by itself. Asked before, it keeps what is tried and rehearsed once out of a step's time. Raises
        ConfigError as `step` does; nothing changes.
        """
        check_evidence(evidence)

        def planned() -> Plan:
            self._guard.check(self.loss, inputs, targets, curvature)
            assert inputs is not None  # the guard has seen to both
            assert targets is not None
            with twice_differentiable(self.model):
                return plan_of_step(self, (inputs, targets), curvature, evidence)

        return self.ranks.together(planned)

    def _search(
        self,
        inputs: Tensor,
        targets: Tensor,
        curvature: tuple[Tensor, Tensor] | None,
        evidence: Collection[str],
        chunk: int | None,
    ) -> tuple[StepResult, Vector, Solution]:
        """What the step is to be: nothing moves yet."""
        damping, shared = self.damping, curvature is None
        posed = self._pose(inputs, targets, curvature, evidence, chunk)
        system, g, f_0, f_c, told = posed.system, posed.system.gradient, posed.f_0, posed.f_c, posed.told
        kept, solution = self._solve(system, posed.preconditioner)
        least_squares = "right_hand_side_form" in vars(system)
        form = system.right_hand_side_form if least_squares else ""
        mode, precision = system.linearisation.product_mode, system.linearisation.precision.name
        del system, posed  # the graph is not needed from here on, and large

        f = _Objective(self, inputs, targets, chunk)
        chosen, f_1 = self._backtrack(kept, f, shared)
        p = chosen.x
        f_c_of = f if curvature is None else _Objective(self, *curvature, chunk)
        rho = self._reduction_ratio(chosen, damping, f_c, f_c_of, f_1 if shared else None)
        next_damping = damping if rho is None else self.globalization.update_damping(damping, rho)
        step = self._line_search(f, p, f_0, f_1, g.dot(p))
        result = StepResult(
            iteration=self.iteration + 1,
            objective_before=f_0,
            objective_after=None if math.isnan(step.value) else step.value,
            **told,
            damping=damping,
            next_damping=next_damping,
            rho=rho,
            inner_iterations=solution.last.k,
            chosen_iterate=chosen.k,
            stop_reason=solution.stop.name.lower(),
            step_length=step.length,
            step_norm=step.length * p.norm(),
            q=chosen.q,
            preconditioner=type(self.preconditioner).__name__,
            right_hand_side=form,
            product_mode=mode,
            precision=precision,
        )
        return result, p, solution

    def pose(
        self, inputs: Tensor, targets: Tensor, curvature: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Posed, Vector | None]:
        """The system that a `step` on these cases would solve, its preconditioner built, and the start of the solve.

        Nothing changes: the step after it draws what it would have drawn. The start is None for zero. Raises as `step`
        does.
        """
        planned = self.prepare(inputs, targets, curvature)
        drawn, kept = self.generator.get_state(), self.preconditioning.state_dict()
        try:
            with twice_differentiable(self.model):
                return self._pose(inputs, targets, curvature, (), planned.chunk), self._warm_start()
        finally:
            self.generator.set_state(drawn)
            self.preconditioning.load_state_dict(kept)

    def _pose(
        self,
        inputs: Tensor,
        targets: Tensor,
        curvature: tuple[Tensor, Tensor] | None,
        evidence: Collection[str],
        chunk: int | None,
    ) -> Posed:
        """One batch's graph is freed before the next one is recorded."""
        shared = curvature is None
        at = self._linearise(inputs, targets, chunk)
        g = at.gradient + self.layout.pack(self.weights * self.mu_D)
        gradient_norm = g.norm()
        penalty = decay_penalty(self.weights, self.mu_D)
        f_0 = at.value + penalty
        if not math.isfinite(gradient_norm):
            raise NonFiniteError(f"the gradient must be finite, but its norm is {gradient_norm}.")
        told = {
            "gradient_norm": gradient_norm,
            "variance_l1": at.variance_l1 if "variance_l1" in evidence else None,
            "variance_inner": at.variance_along(g) if "variance_inner" in evidence else None,
        }
        del at.gradient  # g has it, decay added
        on_gradient = shared or self.preconditioner.cases == "gradient"
        M = self._preconditioner_at(at) if on_gradient else None
        if curvature is not None:
            del at
            at = self._linearise(*curvature, chunk)
        if M is None:
            M = self._preconditioner_at(at)
        f_c = at.value + penalty
        at.keep_for_products()
        system = GaussNewtonSystem(
            at, g, self.damping, self.mu_D, shares_cases=shared, right_hand_side=self.right_hand_side
        )
        return Posed(system, M, f_0, f_c, told)

    def _linearise(self, inputs: Tensor, targets: Tensor, chunk: int | None) -> Linearisation:
        return Linearisation(
            self.model,
            self.loss,
            inputs,
            targets,
            chunk=chunk,
            layout=self.layout_name,
            precision=self.precision,
            ledger=self.ledger,
            ranks=self.ranks,
        )

    def _preconditioner_at(self, at: Linearisation) -> Factor:
        shift = self.layout.spread([mu + self.damping for mu in self.mu_D])
        return self.preconditioning.build(at, shift, self.generator)

    def _solve(self, system: GaussNewtonSystem, M: Factor) -> tuple[list[SolverState], Solution]:
        """The kept iterates and the end of the inner solve."""
        kept = KeptIterates(self.globalization.keep_start, self.globalization.keep_growth)
        recorders = [kept] if self.globalization.backtracking else []
        solution = solve(self.solver, system, self._warm_start(), M, self.rules, recorders, self.max_inner)
        return kept.states or [solution.last], solution

    def _backtrack(self, kept: list[SolverState], f: _Objective, shared: bool) -> tuple[SolverState, float]:
        """The chosen iterate and f there: NaN where no switch asks for it, rho's being on other cases if not shared."""
        switches = self.globalization
        if switches.backtracking or switches.line_search or (switches.adapt_damping and shared):
            return backtrack(kept, f)
        return kept[-1], math.nan

    def _reduction_ratio(
        self, chosen: SolverState, damping: float, f_c: float, f_c_of: _Objective, known: float | None
    ) -> float | None:
        """rho for the chosen iterate; None where damping is not adapted. `known` is f_c(w + p) if already evaluated."""
        if not self.globalization.adapt_damping:
            return None
        p = chosen.x
        after = f_c_of(p) if known is None else known
        return reduction_ratio(f_c, after, chosen.q - 0.5 * damping * p.dot(p))

    def _line_search(self, f: _Objective, p: Vector, f_0: float, f_1: float, slope: float) -> Step:
        if not self.globalization.line_search:
            return Step(1.0, f_1)
        return line_search(self.globalization, f, p, f_0, f_1, slope)

    @torch.no_grad()
    def _move(self, p: Vector, length: float, next_damping: float) -> None:
        if length > 0:
            torch._foreach_add_(list(self._named.values()), self.layout.unpack(p), alpha=length)
        group = self.param_groups[0]
        group["damping"], group["iteration"] = next_damping, group["iteration"] + 1


class _Objective:
    """Step p ↦ f(w + p) on given cases, without touching the weights; each evaluation is counted."""

    def __init__(self, optimizer: HessianFree, inputs: Tensor, targets: Tensor, chunk: int | None) -> None:
        self.optimizer, self.inputs, self.targets, self.chunk = optimizer, inputs, targets, chunk

    def __call__(self, p: Vector) -> float:
        owner = self.optimizer
        owner.ledger.count("evaluation", len(self.inputs))
        w = owner.weights + owner.layout.unpack(p)
        named = dict(zip(owner._named, w, strict=True))
        return objective(
            owner.model, owner.loss, self.inputs, self.targets, owner.mu_D, self.chunk, named, ranks=owner.ranks
        )
