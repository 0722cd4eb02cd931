"""Hessian-free optimisation: one damped Gauss-Newton system per step, solved by an inner Krylov solver."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Never

import torch
from torch import Tensor, nn

from hfbench.curvature.double_backward import twice_differentiable
from hfbench.curvature.loss import check_loss
from hfbench.curvature.recorded_passes import check_chunk, check_gradient_precision
from hfbench.curvature.work_ledger import Ledger
from hfbench.errors import ConfigError
from hfbench.hessian_free.globalization import Globalization
from hfbench.hessian_free.memory_rehearsal import plan_of_step
from hfbench.hessian_free.model_guard import Guard
from hfbench.hessian_free.null_step import NullSteps
from hfbench.hessian_free.optimizer_state import ParameterGroup, check_state, shapes
from hfbench.hessian_free.settings import (
    check_evidence,
    check_no_closure,
    check_no_other,
    check_settings,
    decay_of,
    generator_of,
    globalization_of,
    rules_of,
)
from hfbench.hessian_free.step import StepSettings, compute_step, initial_iterate, system_at
from hfbench.hessian_free.step_result import StepResult, StepSystem
from hfbench.inner_solve.preconditioning import begin_preconditioning
from hfbench.inner_solve.solve import check_preconditioner, check_rules
from hfbench.inner_solve.system import check_form
from hfbench.linalg.data_parallel import ranks_of
from hfbench.linalg.layout import layout_of
from hfbench.linalg.precision import precision_of
from hfbench.linalg.vector import Vector
from hfbench.memory.byte_sizes import bytes_of
from hfbench.memory.forecast import ChunkPlan, Forecast
from hfbench.memory.freed_memory import return_large_blocks
from hfbench.parts import registry
from hfbench.parts.hyperparameters import located
from hfbench.parts.protocols import InnerSolver, Preconditioner, Rule, Stop
from hfbench.setting_checks import whole_number

PARTED = "they have parted, so run all on the same kind of machine, with the same libraries and as many threads"


class HessianFree(torch.optim.Optimizer):
    """Martens' (2010) Hessian-free method for any model, with interchangeable solver, preconditioner and rules.

    Each `step(inputs, targets)` minimises q(p) = gᵀp + ½ pᵀ(G + mu D + lambda I)p approximately and moves w along p.
    The objective is f(w) = (1/n) Σ loss(z_i, t_i) + (mu/2) wᵀDw, z the model's outputs before any final activation.

        optimizer = hfbench.HessianFree(model, loss="softmax", solver="lsmr", preconditioner="chapelle-erhan")
        for inputs, targets in batches:
            result = optimizer.step(inputs, targets)

    Parts are given by name, as {"use": name, **hyper-parameters}, or as instances. `decay` is mu, for the blocks that
    `decay_mask` selects: "weights" (two or more dimensions), "all" or "none"; or it maps each parameter's name to its
    mu. `chunk` streams batches through the model in chunks of so many cases. `max_bytes` (4_000_000_000, "4GB",
    "512MiB") chooses the chunk such that a step's tensors stay below it; with both, both limits hold. `layout` "flat"
    solves with one long vector instead of blocks. `precision` is that of the curvature products: "parameters" (that of
    the weights), "auto", "float64", "float32", "tf32" or "bfloat16" (`hfbench.linalg.precision`). With
    `gradient_precision` "products", the gradient is rounded like them, and one pass serves both. `ledger` counts the
    work.

    With a `process_group` of `torch.distributed` (gloo or nccl), each rank passes its own cases to `step`, and all
    ranks take the step of all cases together (`hfbench.linalg.data_parallel`). Model and settings must be the same on
    all ranks; the numbers of cases may differ. All ranks must make every call. The ledger counts a rank's own cases.

    The optimiser trains the parameters that have requires_grad at construction, in float32 or float64 and on one
    device. The model must be the same function of each case at every pass, without dropout or batch statistics, which
    eval() switches off. Its forward must read parameters by name and not write into them. A model that violates this
    raises ConfigError (`hfbench.curvature.model_checks`, `hfbench.hessian_free.model_guard`).
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
        gradient_precision: str = "parameters",
        process_group: Any = None,
        **other: Never,
    ) -> None:
        check_no_other(other)
        self._guard = Guard(model)
        self.model, self.loss = model, check_loss(loss)
        self.solver: InnerSolver = registry.build("solver", solver, "solver")
        self.preconditioner: Preconditioner = registry.build("preconditioner", preconditioner, "preconditioner")
        self.rules = rules_of(rules)
        check_rules(self.rules, self.solver)
        check_preconditioner(self.solver, self.preconditioner)
        self.preconditioning = begin_preconditioning(self.preconditioner, model)
        self.globalization = globalization_of(globalization)
        self.max_inner, self.right_hand_side = whole_number(max_inner, "max_inner"), check_form(right_hand_side)
        self.chunk, self.max_bytes = check_chunk(chunk), bytes_of(max_bytes)
        if self.max_bytes is not None:
            return_large_blocks()
        self.forecasts: dict[Any, Forecast] = {}  # of the memory of steps, by the shapes they were rehearsed for
        self.generator = generator_of(seed)
        self._null_steps = NullSteps()
        self.ledger = Ledger()
        self._named = self._guard.trained
        self.mu_D = decay_of(self._named, decay, decay_mask)
        self.precision = precision
        self.gradient_precision = check_gradient_precision(gradient_precision)
        precision_of(precision, next(iter(self._named.values())))  # refuses what this machine has not
        self.layout_name, self.layout = layout, layout_of(layout, list(self._named.values()))
        self.ranks = ranks_of(process_group, next(iter(self._named.values())).device)
        state = {"damping": self.globalization.initial_damping, "iteration": 0, "generator": self.generator.get_state()}
        super().__init__(list(self._named.values()), {**state, "shapes": shapes(self._named.values())})
        check_settings(self.settings)

    @property
    def settings(self) -> StepSettings:
        """All settings of the next step; its state is separate."""
        return StepSettings(
            model=self.model,
            parameters=self._named,
            loss=self.loss,
            solver=self.solver,
            preconditioner=self.preconditioner,
            preconditioning=self.preconditioning,
            rules=self.rules,
            globalization=self.globalization,
            mu_D=self.mu_D,
            layout_name=self.layout_name,
            layout=self.layout,
            precision=self.precision,
            gradient_precision=self.gradient_precision,
            right_hand_side=self.right_hand_side,
            max_inner=self.max_inner,
            generator=self.generator,
            ledger=self.ledger,
            ranks=self.ranks,
        )

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
        """Names of the trained parameters in the model, in the order of `weights`."""
        return list(self._named)

    def state_dict(self) -> dict[str, Any]:
        """The state without the weights: lambda, warm start, random generator, iteration, preconditioner's state."""
        self.param_groups[0]["generator"] = self.generator.get_state()
        self.param_groups[0].pop("preconditioner", None)
        if kept := self.preconditioning.state_dict():
            self.param_groups[0]["preconditioner"] = kept
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises ConfigError, and loads nothing, unless it comes from a HessianFree for parameters of the same shapes.

        A preconditioner with a state must be the one that the state was saved with.
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
        """Raises ConfigError after construction; only the constructor adds the group."""
        if self.param_groups:
            raise ConfigError(
                "HessianFree solves one system for all trained parameters of its model, so none can be added to it: "
                "set requires_grad before and construct it anew. Decay per parameter: decay={name: mu, …}."
            )
        super().add_param_group(ParameterGroup(param_group))

    def _last_iterate(self) -> list[Tensor] | None:
        """The last iterate of the previous step, a block for each parameter; None before the first step."""
        return [self.state[p]["warm_start"] for p in self._named.values()] if self.state else None

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
        **other: Never,
    ) -> StepResult:
        """One outer iteration: gradient on (inputs, targets), curvature on `curvature` or the same cases.

        `evidence` requests "variance_l1", ‖Var_i(∇f_i)‖₁ over the gradient's cases, or "variance_inner",
        Var_i(∇f_iᵀ∇f). Raises NonFiniteError if outputs, loss or gradient at the present weights are not finite;
        ConfigError for other evidence, for a batch that does not fit, and for a model on which a step would be wrong.
        After an error, weights and state are unchanged; the work done stays counted. Warns of steps that move
        nothing one after another, if features are too large for the weights' dtype (`hfbench.hessian_free.null_step`).
        """
        check_no_closure(other)
        planned = self.prepare(inputs, targets, curvature, evidence)
        assert inputs is not None  # which has seen to both
        assert targets is not None
        drawn, kept = self.generator.get_state(), self.preconditioning.state_dict()
        try:
            with twice_differentiable(self.model):
                outcome = compute_step(
                    self.settings,
                    self.damping,
                    self._last_iterate(),
                    (inputs, targets),
                    curvature,
                    evidence,
                    planned.chunk,
                )
            result = outcome.result
            self.ranks.check_alike({"step": (result.objective_before, result.step_length, result.next_damping)}, PARTED)
        except BaseException:
            self.generator.set_state(drawn)
            self.preconditioning.load_state_dict(kept)
            raise
        self._move(outcome.p, result.step_length, result.next_damping)  # from here on nothing fails
        if outcome.solution.stop is Stop.NONFINITE:
            self.state.clear()  # a start that overflowed would do so again
        else:
            self._keep_for_warm_start(outcome.solution.last.x)
        result = replace(result, iteration=self.iteration, predicted_memory=planned.peak)
        self._null_steps.see(result, inputs, outcome.p[0].dtype, stacklevel=4)
        return result

    def prepare(
        self,
        inputs: Tensor | None,
        targets: Tensor | None,
        curvature: tuple[Tensor, Tensor] | None = None,
        evidence: Collection[str] = (),
    ) -> ChunkPlan:
        """Plan of `step` on this batch, with its predicted memory; slow only for the first batch of a shape.

        `step` calls it itself. An earlier call keeps the checks and the rehearsal out of a step's time. Raises
        ConfigError as `step` does; nothing changes.
        """
        check_evidence(evidence)

        def planned() -> ChunkPlan:
            with _noting_the_shape(inputs):
                self._guard.check(self.loss, inputs, targets, curvature)
            assert inputs is not None  # the guard has seen to both
            assert targets is not None
            with twice_differentiable(self.model):
                return plan_of_step(
                    self.settings,
                    self.damping,
                    (inputs, targets),
                    curvature,
                    evidence,
                    self.chunk,
                    self.max_bytes,
                    self.forecasts,
                )

        return self.ranks.together(planned)

    def system_at(
        self, inputs: Tensor, targets: Tensor, curvature: tuple[Tensor, Tensor] | None = None
    ) -> tuple[StepSystem, Vector | None]:
        """The system that a `step` on these cases would solve, its built preconditioner, and the initial iterate.

        Nothing changes: the next step draws the same random numbers. The initial iterate is None for zero. Raises as
        `step` does.
        """
        planned = self.prepare(inputs, targets, curvature)
        drawn, kept = self.generator.get_state(), self.preconditioning.state_dict()
        settings = self.settings
        try:
            with twice_differentiable(self.model):
                linear = system_at(settings, self.damping, (inputs, targets), curvature, chunk=planned.chunk)
                return linear, initial_iterate(settings, linear, self._last_iterate())
        finally:
            self.generator.set_state(drawn)
            self.preconditioning.load_state_dict(kept)

    @torch.no_grad()
    def _move(self, p: Vector, length: float, next_damping: float) -> None:
        if length > 0:
            torch._foreach_add_(list(self._named.values()), self.layout.unpack(p), alpha=length)
        group = self.param_groups[0]
        group["damping"], group["iteration"] = next_damping, group["iteration"] + 1


@contextmanager
def _noting_the_shape(inputs: Any) -> Iterator[None]:
    """Adds the shape of the caller's inputs to an error of the model, which may have met it on a few of the cases."""
    try:
        yield
    except (ConfigError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        error.add_note(f"(the inputs given to HessianFree have shape {tuple(inputs.shape)})")
        raise
