"""What one outer iteration of `hfbench.HessianFree` did."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class StepResult:
    """What one step did. Objectives are f on the gradient batch, weight decay included."""

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
    predicted_memory: int | None = None  # bytes, told before the step: `hfbench.memory`

    def to_row(self) -> dict[str, Any]:
        return asdict(self)
