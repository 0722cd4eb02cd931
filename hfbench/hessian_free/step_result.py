"""Records of a step: its linear system, and its result."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hfbench.inner_solve.system import GaussNewtonSystem
from hfbench.parts.protocols import BuiltPreconditioner


@dataclass(frozen=True)
class StepSystem:
    """The system of one outer iteration, its preconditioner, and the evidence gathered with them."""

    system: GaussNewtonSystem
    preconditioner: BuiltPreconditioner
    f_0: float  # f(w) on the gradient's cases, weight decay included
    f_c: float  # on the curvature's; NaN if damping is not adapted
    evidence: dict[str, Any]  # gradient_norm, and what was asked for of variance_l1 and variance_inner


@dataclass(frozen=True)
class StepResult:
    """Result of one step. Objectives are f on the gradient batch, weight decay included."""

    iteration: int
    objective_before: float
    objective_after: float | None  # None where no switch asked for it
    gradient_norm: float
    variance_l1: float | None
    variance_inner: float | None
    damping: float  # lambda of the system that was solved
    next_damping: float
    rho: float | None
    inner_iterations: int
    chosen_iterate: int
    stop_reason: str
    step_length: float
    step_norm: float
    q: float  # at the chosen iterate
    preconditioner: str
    right_hand_side: str  # "residual", "damping", or "" for solvers that use the matrix form
    product_mode: str
    precision: str  # of the products: "float64", "float32", "tf32" or "bfloat16"
    predicted_memory: int | None = None  # bytes, told before the step: `hfbench.memory.forecast`

    def to_row(self) -> dict[str, Any]:
        return asdict(self)
