"""Protocols of the parts. Plugins depend on this page; it depends on no plugin.

Symbols as everywhere: capitals are operators, small Latin letters vectors, Greek letters scalars. n cases in a batch,
N in the training set, P parameters. A `Vector` is a tuple of blocks shaped like the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from hfbench.linalg.vector import Shift, Vector

if TYPE_CHECKING:
    from hfbench.curvature.linearisation import Linearisation
    from hfbench.curvature.work_ledger import Ledger
    from hfbench.parts.data_files import DataFile
    from hfbench.parts.hyperparameters import Search
    from hfbench.parts.span import Span


# ---------------------------------------------------------------- inner solvers


class Breakdown(Enum):
    """Reason why an algorithm could not continue; the value is the message."""

    NONPOSITIVE_CURVATURE = "pᵀAp <= 0: A is not positive definite along p"
    ZERO_RIGHT_HAND_SIDE = "the gradient is zero: there is nothing to solve"


class Stop(Enum):
    """Reason why an inner solve ended; the value is the message."""

    RELATIVE_PROGRESS = "the quadratic gained less than k*epsilon over the last k steps"
    RESIDUAL = "the relative residual is below its tolerance"
    BACKWARD_ERROR = "the backward error is below its tolerance"
    FIXED_ITERATIONS = "the fixed number of inner iterations was reached"
    FIXED_WORK = "the fixed number of products was spent"
    MAX_ITERATIONS = "the maximum number of inner iterations was reached"
    BREAKDOWN = "the algorithm could not continue"
    NONFINITE = "an iterate was not finite"
    SOLVED = "the iterates ended: the system is solved exactly"


class System(Protocol):
    """The damped Gauss-Newton system A x = -g, A = G + mu D + lambda I, also as the least-squares problem min ‖Ãx - b̃‖.

    ÃᵀÃ = A and Ãᵀb̃ = -g. Vectors of the residual space have one block more than the parameters.
    """

    damping: float  # lambda

    @property
    def gradient(self) -> Vector: ...
    @property
    def right_hand_side(self) -> Vector:
        """b̃."""

    def multiply(self, v: Vector) -> Vector:
        """A v."""

    def multiply_columns(self, V: Sequence[Vector]) -> list[Vector]:
        """A v of each vector, sooner than one by one where the model is a chain of dense layers."""

    def span(self, V: Sequence[Vector], split: str) -> Span:
        """The system on the span of the parts of V, of "layers", "parameters", or of whole vectors, "none"."""

    @property
    def root_shift(self) -> Shift:
        """(mu D + lambda I)^½, the part of Ã below its first block."""

    def kernel(self) -> Tensor:
        """J̃ (mu D + lambda I)⁻¹ J̃ᵀ in float64, J̃ the first block of Ã: rows × rows, positive semidefinite."""

    def forward(self, v: Vector) -> Vector:
        """Ã v."""

    def adjoint(self, u: Vector) -> Vector:
        """Ãᵀ u."""


class BuiltPreconditioner(Protocol):
    """A built preconditioner M = E Eᵀ, symmetric and positive, approximating A.

    It may declare `replayable: ClassVar[bool] = True` if its solves are the same operations on the same memory for
    every v, and change nothing but the counts of the linearisation's ledger. On a GPU an iteration is then replayed as
    one CUDA graph (`hfbench.inner_solve.iteration`).
    """

    def solve(self, v: Vector) -> Vector:
        """M⁻¹ v."""

    def solve_factor(self, v: Vector) -> Vector:
        """E⁻¹ v."""

    def solve_factor_t(self, v: Vector) -> Vector:
        """E⁻ᵀ v."""


class SolverState(Protocol):
    """State of a solver after k steps. Rules may need more entries, which they name in `needs`."""

    @property
    def k(self) -> int: ...
    @property
    def x(self) -> Vector: ...
    @property
    def q(self) -> float:
        """q(x) = gᵀx + ½ xᵀAx."""

    @property
    def relative_residual(self) -> float:
        """‖b - Ax‖ / ‖b‖ in the M⁻¹ norm, b = -g; true down to the rounding of A x, about eps ‖A‖‖x‖ / ‖b‖."""

    @property
    def products(self) -> float:
        """Products with A so far; one with Ã and one with Ãᵀ count as one."""

    @property
    def breakdown(self) -> Breakdown | None: ...


class InnerSolver(Protocol):
    """A `@part` class. `iterates` is the paper's algorithm as a generator; it knows no tolerance, clock or printing.

    `monotone` names the entries of its states that never increase from one to the next, except by rounding. A solver
    that uses no preconditioner declares `takes_preconditioner: ClassVar[bool] = False`, and then gets trivial ones
    only. A solver draws no random numbers.
    """

    monotone: ClassVar[tuple[str, ...]]  # names of state attributes, such as "q"

    def iterates(self, system: System, x0: Vector | None, preconditioner: BuiltPreconditioner) -> Iterator[SolverState]:
        """States 0, 1, 2, … starting at x0 (None: zero, which saves the product with it). x0 is not changed."""


class Rule(Protocol):
    """A stopping rule: frozen settings, and a fresh test per solve.

    A test reads nothing of a state but what `needs` names, writes nothing into it, and draws no random numbers.
    """

    needs: ClassVar[tuple[str, ...]]

    def begin(self) -> Callable[[Any], Stop | None]: ...


class Preconditioner(Protocol):
    """A `@part` class that builds M once per outer iteration.

    `cases` names the batch it is built on: "gradient" (Martens) or "curvature" (Chapelle-Erhan), as a class variable or
    by a setting. One that does nothing declares `trivial: ClassVar[bool] = True` and goes with every solver. One that
    keeps a state from step to step has `begin` as well (`StatefulPreconditioner`); its `build` is then that of the
    first step.
    """

    @property
    def cases(self) -> str: ...

    def build(self, linearisation: Linearisation, shift: Shift, generator: torch.Generator) -> BuiltPreconditioner:
        """`shift` is the diagonal mu D + lambda I: one number per parameter block, or a vector in the flat layout.

        Random numbers come from `generator` alone.
        """


class StatefulPreconditioner(Preconditioner, Protocol):
    """A preconditioner whose M depends on earlier steps. Its `begin` gives the state of one run, as for a scheduler."""

    def begin(self, model: nn.Module) -> PreconditionerState:
        """The state at the start of a run. Raises ConfigError for a model that it visibly cannot precondition."""


class PreconditionerState(Protocol):
    """A preconditioner over the steps of one run."""

    def build(self, linearisation: Linearisation, shift: Shift, generator: torch.Generator) -> BuiltPreconditioner:
        """M of the next step."""

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors that later builds do not change; empty if there is no state."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from a state; an empty one is the start.

        Raises ConfigError and loads nothing if the state has entries, or shapes of tensors, that its own have not.
        """


# ---------------------------------------------------------------- optimisers


class StepRecord(Protocol):
    """Record of one outer iteration, as plain values by trace column."""

    def to_row(self) -> dict[str, Any]:
        """At least `gradient_norm` and `objective_after`, which may be None.

        `objective_after` is f on the gradient cases after the step. `gradient_norm` is ‖∇f‖ on these cases or on a
        minibatch of them, at weights that the model had in the step. Other entries mean what the column of their name
        in a trace means.
        """


class Optimizer(Protocol):
    """An optimiser of one model: `hfbench.HessianFree`, or the one that a baseline begins."""

    ledger: Ledger
    mu_D: tuple[float, ...]  # the weight decay of f, one number per parameter block

    def step(
        self,
        inputs: Tensor,
        targets: Tensor,
        curvature: tuple[Tensor, Tensor] | None = None,
        evidence: Collection[str] = (),
    ) -> StepRecord:
        """One outer iteration on the given cases. Its record has the entries of `STEP_EVIDENCE` that `needs` names.

        Changes none of the tensors given. Raises ConfigError for evidence that it cannot give.
        """

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


@runtime_checkable
class SupportsPrepare(Protocol):
    """An optimiser that checks a new kind of batch, and measures its memory, before the timed step begins."""

    def prepare(
        self,
        inputs: Tensor,
        targets: Tensor,
        curvature: tuple[Tensor, Tensor] | None = None,
        evidence: Collection[str] = (),
    ) -> object: ...


@dataclass(frozen=True)
class Horizon:
    """Length of a run: its budget, and the number of training cases, which a pass goes over once."""

    budget: Mapping[str, float]  # among passes, seconds, products and iterations
    cases: int


@runtime_checkable
class SupportsHorizon(Protocol):
    """An optimiser whose settings follow the length of the run, or that draws random numbers."""

    def expect(self, horizon: Horizon, draws: torch.Generator) -> None:
        """Told once, before the first step. Raises ConfigError for a budget whose end it cannot foresee."""


@runtime_checkable
class FollowsLength(Protocol):
    """A `@part` class whose steps may follow a run's length: then none goes on from a run with a smaller budget."""

    @property
    def follows_length(self) -> bool: ...


@runtime_checkable
class NamesClasses(Protocol):
    """A `@part` class whose settings name classes. Their source counts in a run's key, as that of the part does."""

    def named_classes(self) -> Sequence[type]: ...


@runtime_checkable
class SuggestsRanges(Protocol):
    """A `@part` class with a table whose keys it does not declare, such as keyword arguments of a class it names."""

    def ranges(self) -> Mapping[str, Search]:
        """Search ranges of what such a table holds, by key path below the part, such as `settings.lr`."""


class Baseline(Protocol):
    """A `@part` class: an optimiser to compare Hessian-free methods with."""

    def begin(self, model: nn.Module, loss: str, mu_D: tuple[float, ...]) -> Optimizer:
        """The optimiser of f(w) = (1/n) Σ loss(z_i, t_i) + (1/2) wᵀ(mu D)w for this model."""


# ---------------------------------------------------------------- batches


@dataclass(frozen=True)
class BatchPlan:
    """Plan of the next step's batch: numbers of cases of gradient and curvature, their order, and the reason."""

    gradient: int
    curvature: int
    order: str  # "cyclic" (consecutive windows), "random" (a permutation per step) or "epochs" (one per pass)
    reason: str


@dataclass(frozen=True)
class Evidence:
    """Evidence of a step about its batch. Entries that a scheduler does not name in `needs` may be None."""

    iteration: int
    batch: int  # gradient cases of the step
    gradient_norm: float  # ‖∇f_S‖₂
    variance_l1: float | None = None  # ‖Var_i(∇f_i)‖₁, sample variance
    validation_objective: float | None = None
    variance_inner: float | None = None  # Var_i(∇f_iᵀ∇f_S), sample variance


STEP_EVIDENCE = ("variance_l1", "variance_inner")  # measured by the step itself, on its gradient cases


class Scheduler(Protocol):
    """A `@part` class that plans batch sizes; its `begin` gives the stateful schedule of one run."""

    needs: ClassVar[tuple[str, ...]]  # among STEP_EVIDENCE and "validation_objective"

    def begin(self, total: int) -> Schedule:
        """The schedule for a training set of `total` cases. Raises ConfigError for a batch larger than that."""


class Schedule(Protocol):
    """The batch sizes of one run. Never shrinks, and draws no random numbers."""

    @property
    def plan(self) -> BatchPlan:
        """The plan of the coming step."""

    def next(self, evidence: Evidence) -> BatchPlan:
        """The plan of the step after the one that gave the evidence."""

    def state_dict(self) -> dict[str, Any]:
        """Plain data that later steps do not change."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


# ---------------------------------------------------------------- tasks


@dataclass(frozen=True)
class Split:
    """Cases of one split of a data set: inputs (cases × features) and targets."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class TaskData:
    """The cases of a task, split into those for training, validation and test."""

    train: Split
    validation: Split
    test: Split


class Task(Protocol):
    """A `@part` class: data, model, loss, and the target and budget fixed beforehand.

    Where evaluation is dear it may have `evaluate_every` too, the steps from one evaluation to the next; else 1. With
    `error_is_root: ClassVar[bool] = True` the error of a split is the root of its mean, such as a relative L2 norm.

    `files` lists the files that `load` reads; it is empty for generated data. Generators come from named streams of the
    run's seed, so that all methods of a study share split and initial weights.
    """

    loss: ClassVar[str]  # "least-squares", "logistic" or "softmax"
    files: ClassVar[tuple[DataFile, ...]]
    decay: float  # mu
    decay_mask: str  # "weights", "all" or "none"
    target: float  # error, on validation or test cases, at which a run has reached its goal
    budget: ClassVar[Mapping[str, float]]  # default budget: passes, seconds, products or iterations

    def load(self, generator: torch.Generator, data: str | None = None) -> TaskData:
        """The data as float32; `generator` draws the validation split; `data` is a folder to search first."""

    def model(self, generator: torch.Generator) -> nn.Module:
        """A freshly initialised float32 model whose output is the pre-activation z."""

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Per-case error from pre-activations (autoencoders: squared error summed over pixels), shape (cases,)."""
