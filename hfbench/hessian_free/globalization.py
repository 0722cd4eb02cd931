"""Globalization: the settings of warm start, backtracking, damping and line search, the same for all solvers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from hfbench.errors import ConfigError
from hfbench.linalg.vector import Vector
from hfbench.parts.hyperparameters import Integers, Linear, Log, Within, part

Objective = Callable[[Vector], float]  # step p ↦ f(w + p)


@part
class Globalization:
    """Warm start, backtracking over kept iterates, Levenberg-Marquardt damping, and line search of Martens (2010).

    The constants of Martens' code (2010) are the defaults.

    lambda_0   `initial_damping` suits a task if the first step's rho lies between
               rho_low and rho_high. While steps are short, 1 - rho is about
               proportional to 1/lambda: if lambda_0 = 45 gives rho = 0.98, then
               45 (1 - 0.98)/0.5 = 2 gives about 0.5. If rho is below rho_low,
               take ten times as much. Martens' 45 is for deep autoencoders:
               small tasks spend a dozen short steps, often half of the work to
               the target, on coming down. `hfbench diagnose` tells of it
    """

    warm_start: Annotated[float, Linear(0.0, 1.0), Within("[0, 1]"), "zeta: start at zeta·(last iterate)"] = 0.95
    subspace_start: Annotated[
        bool, "start at the least q over M⁻¹b and the warm start, with a coefficient for each of their layers"
    ] = False
    backtracking: Annotated[bool, "return to earlier kept iterates while the objective does not rise"] = True
    keep_start: Annotated[int, Integers(1, 20), Within("[1, 1e6]"), "first inner iteration that is kept"] = 5
    keep_growth: Annotated[float, Linear(1.1, 2.0), Within("[1.001, 1000]"), "growth factor of the kept iterations"] = (
        1.3
    )
    adapt_damping: Annotated[bool, "change lambda by the reduction ratio rho"] = True
    schedule_damping: Annotated[bool, "multiply lambda by damping_decay at every step, without rho"] = False
    initial_damping: Annotated[float, Log(1e-2, 1e3), Within("[0, 1e12]"), "lambda_0"] = 45.0
    damping_growth: Annotated[float, Linear(1.1, 3.0), Within("[1, 1000]"), "lambda's factor when rho is low"] = 1.5
    damping_decay: Annotated[float, Linear(0.3, 0.95), Within("(0, 1]"), "lambda's factor when rho is high"] = 2 / 3
    min_damping: Annotated[float, Log(1e-12, 1e-2), Within("[0, 1e12]"), "lower bound of lambda"] = 1e-10
    rho_low: Annotated[float, Linear(0.05, 0.5), Within("(0, 1)"), "rho below this raises lambda"] = 0.25
    rho_high: Annotated[float, Linear(0.5, 0.95), Within("(0, 1)"), "rho above this lowers lambda"] = 0.75
    line_search: Annotated[bool, "shorten the step until the objective decreases enough"] = True
    armijo: Annotated[float, Log(1e-4, 0.3), Within("(0, 1)"), "fraction of the predicted decrease to reach"] = 0.01
    shrink: Annotated[float, Linear(0.5, 0.9), Within("(0, 1)"), "factor of the step length per try"] = 0.8
    max_tries: Annotated[
        int, Integers(5, 100), Within("[1, 10000]"), "maximum number of tries; no step is taken after them"
    ] = 60

    def __post_init__(self) -> None:
        if self.adapt_damping and self.schedule_damping:
            raise ConfigError(
                "schedule_damping: must be false where adapt_damping is true, its default: lambda follows either a "
                "schedule or rho. Set adapt_damping = false for a schedule."
            )
        if self.rho_low > self.rho_high:
            raise ConfigError(f"rho_low: must be at most rho_high, {self.rho_high:g}, but got {self.rho_low:g}.")
        if 0 < self.initial_damping < self.min_damping:
            raise ConfigError(
                f"min_damping: must be at most initial_damping, {self.initial_damping:g}, but got {self.min_damping:g}."
            )
