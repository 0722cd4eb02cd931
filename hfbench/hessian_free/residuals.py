"""Nonlinear least squares for a residual at points: damped Gauss-Newton steps until the gradient is small.

Problem    minimise f(w) = (1/2n) Σ_i ‖r(w; x_i)‖² over the parameters w, for n points x_i
Step       (JᵀJ/n + lambda I) p = -∇f, by `dual` where there are fewer residuals than parameters
Damping    lambda falls to a third where f fell by three quarters or more of what the model said, and doubles where it
           fell by a quarter or less: Levenberg and Marquardt's method, with a line search for steps that lead uphill
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.loss import mean_loss
from hfbench.errors import ConfigError
from hfbench.hessian_free.optimizer import HessianFree
from hfbench.hessian_free.step_result import StepResult
from hfbench.messages import quoted
from hfbench.setting_checks import whole_number

ROWS = 5000  # residuals up to which `dual` is chosen
COMPARED = 256  # rows of J whose scales are compared
DIGITS_LEFT = 1e-4  # of a row beside another: with fewer its scale is said
DAMPING = {"initial_damping": 1e-3, "damping_decay": 1 / 3, "damping_growth": 2.0, "min_damping": 1e-14}
SWITCHES = {**DAMPING, "warm_start": 0.0, "backtracking": False}


@dataclass(frozen=True)
class ResidualFit:
    """Where a minimisation ended, and its steps."""

    parameters: Tensor | nn.Module  # as they were given: w, or the module, which has been changed
    objective: float  # f
    gradient_norm: float  # ‖∇f‖ before the last step
    reason: str  # why it ended: "gradient", "objective" or "steps"
    steps: list[StepResult]


class PointResidual(nn.Module):
    """r(w; ·) as a module with the one parameter w."""

    def __init__(self, residual: Callable[[Tensor, Tensor], Tensor], w: Tensor) -> None:
        super().__init__()
        self.residual = residual
        self.w = nn.Parameter(w.detach().clone())

    def forward(self, points: Tensor) -> Tensor:
        """The residuals, points first."""
        return self.residual(self.w, points)


def minimize_residual(
    residual: nn.Module | Callable[[Tensor, Tensor], Tensor],
    points: Tensor,
    w: Tensor | None = None,
    *,
    solver: str | Mapping[str, Any] | None = None,
    steps: int = 100,
    gtol: float = 1e-10,
    ftol: float = 1e-12,
    globalization: Mapping[str, Any] | None = None,
    **settings: Any,
) -> ResidualFit:
    """Minimises (1/2n) Σ_i ‖r(w; x_i)‖² from w on, by damped Gauss-Newton steps.

        fit = hfbench.minimize_residual(lambda w, x: w[0] * torch.exp(-w[1] * x) - y(x), x, torch.ones(2).double())

    `residual` is a function of w and points (n × …), with residuals of each point in a row (n or n × m), or a module
    of the points alone, whose parameters are then w and change. A residual must depend on its own point alone.
    `solver` is `dual` for at most 5000 residuals, and else `lsmr`; `settings` are those of `hfbench.HessianFree`.
    It ends where ‖∇f‖ <= gtol, where a step lowers f by less than ftol·f, or after so many steps.

    Warns where rows of J differ so much in scale that the small ones are lost in rounding: 1e12 in float64. Raises
    ConfigError for a function without w, for w beside a module, and for residuals of another form;
    NonFiniteError if they are not finite at the start.
    """
    most = whole_number(steps, "steps")
    model = _module(residual, w)
    residuals = _residuals_at(model, points)
    if solver is None:
        solver = "dual" if residuals.numel() <= ROWS else "lsmr"
    exact: dict[str, Any] = {"rules": []} if solver == "dual" else {}
    optimizer = HessianFree(
        model,
        "least-squares",
        **{
            "solver": solver,
            "preconditioner": "identity",
            "globalization": {**SWITCHES, **(globalization or {})},
            **exact,
            **settings,
        },
    )
    targets, done, reason = torch.zeros_like(residuals), list[StepResult](), "steps"
    _compare_rows(model, points, targets)
    for _ in range(most):
        done.append(optimizer.step(points, targets))
        if (reached := _reason(done, gtol, ftol)) is not None:
            reason = reached
            break
    objective = mean_loss(_residuals_at(model, points), targets, "least-squares")
    parameters = model.w.detach() if isinstance(model, PointResidual) else model
    return ResidualFit(parameters, objective, done[-1].gradient_norm, reason, done)


def _module(residual: nn.Module | Callable[[Tensor, Tensor], Tensor], w: Tensor | None) -> nn.Module:
    if isinstance(residual, nn.Module):
        if w is not None:
            raise ConfigError("w: must not be given beside a module, whose own parameters are minimised over.")
        return residual
    if not isinstance(w, Tensor):
        raise ConfigError(
            "w: must be a tensor, the parameters of the function residual(w, points) at the start, but got "
            f"{quoted(w)}."
        )
    return PointResidual(residual, w)


def _residuals_at(model: nn.Module, points: Tensor) -> Tensor:
    with torch.no_grad():
        found = model(points)
    if not isinstance(found, Tensor) or found.dim() == 0 or len(found) != len(points):
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ConfigError(
            f"residual: must give a row for each of the {len(points)} points, but gave {shape}: points come first."
        )
    return found


def _compare_rows(model: nn.Module, points: Tensor, targets: Tensor) -> None:
    """Warns if rows of J, of points at even distances, differ so much that few digits of the small ones are left."""
    every = math.ceil(targets.numel() / COMPARED)
    if targets[0].numel() > ROWS:
        return  # already one point has too many rows for a matrix of their products
    at = Linearisation(model, "least-squares", points[::every], targets[::every])
    squares = at.row_gram([1.0] * len(at.blocks)).diagonal()
    norms = squares[squares.isfinite() & (squares > 0)].sqrt()
    ratio = float(norms.max() / norms.min()) if len(norms) else 1.0
    if ratio * torch.finfo(targets.dtype).eps > DIGITS_LEFT:
        warnings.warn(
            f"residual: rows of its Jacobian should be of one scale, but differ by {ratio:.0e}: in "
            f"{str(targets.dtype).removeprefix('torch.')} the small ones have no effect; divide each kind of residual "
            "by its size.",
            stacklevel=3,
        )


def _reason(steps: Sequence[StepResult], gtol: float, ftol: float) -> str | None:
    """Why it ends here, if it does."""
    last = steps[-1]
    if last.gradient_norm <= gtol:
        return "gradient"
    after = math.nan if last.objective_after is None else last.objective_after
    gained = last.objective_before - after
    return "objective" if last.step_norm > 0 and gained <= ftol * last.objective_before else None
