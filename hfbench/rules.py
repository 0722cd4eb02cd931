"""Stopping rules, shared by all inner solvers: frozen settings, and a fresh test per solve.

A rule sees every state in order and answers with a reason to stop or None. `needs` names what it reads of a state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, final

from hfbench.protocols import SolverState, Stop
from hfbench.space import Integers, Linear, Log, Within, part

Test = Callable[[Any], Stop | None]


@final
@part
class RelativeProgress:
    """Stop when q gained less than k·epsilon, relatively, over the last k = max(k_min, ceil(k_fraction·i)) steps.

    (q_i - q_{i-k})/q_i < k·epsilon, asked from i > k on and for q_i < 0: Martens (2010), section 4.4.
    """

    needs: ClassVar[tuple[str, ...]] = ("q",)
    epsilon: Annotated[float, Log(5e-5, 5e-3), Within("(0, 1)"), "relative gain per step below which to stop"] = 5e-4
    k_min: Annotated[int, Integers(2, 30), Within("[1, inf)"), "shortest window, in steps"] = 10
    k_fraction: Annotated[float, Linear(0.0, 0.5), Within("[0, 1)"), "window as a part of the steps done"] = 0.1

    def begin(self) -> Test:
        qs: list[float] = []

        def test(state: SolverState) -> Stop | None:
            qs.append(state.q)
            i = len(qs) - 1
            k = max(self.k_min, math.ceil(self.k_fraction * i))
            if i > k and qs[i] < 0 and (qs[i] - qs[i - k]) / qs[i] < k * self.epsilon:
                return Stop.RELATIVE_PROGRESS
            return None

        return test


@final
@part
class Residual:
    """Stop when ‖b - Ax‖ <= rtol·‖b‖ in the M⁻¹ norm."""

    needs: ClassVar[tuple[str, ...]] = ("relative_residual",)
    rtol: Annotated[float, Log(1e-4, 0.5), Within("(0, 1)"), "residual relative to the gradient"] = 1e-2

    def begin(self) -> Test:
        return lambda state: Stop.RESIDUAL if state.relative_residual <= self.rtol else None


@final
@part
class BackwardError:
    """Stop when ‖Ãᵀr̃‖ <= atol·‖Ã‖·‖r̃‖: the test of Fong and Saunders (2011), section 3.2; for LSMR and LSQR."""

    needs: ClassVar[tuple[str, ...]] = ("backward_error",)
    atol: Annotated[float, Log(1e-6, 1e-1), Within("(0, 1)"), "backward error at which to stop"] = 1e-3

    def begin(self) -> Test:
        return lambda state: Stop.BACKWARD_ERROR if state.backward_error <= self.atol else None


@final
@part
class FixedIterations:
    """Stop after a fixed number of inner iterations."""

    needs: ClassVar[tuple[str, ...]] = ("k",)
    iterations: Annotated[int, Integers(5, 250, log=True), Within("[1, inf)"), "inner iterations"] = 50

    def begin(self) -> Test:
        return lambda state: Stop.FIXED_ITERATIONS if state.k >= self.iterations else None


@final
@part
class FixedWork:
    """Stop after a fixed number of Gauss-Newton products, the start-up's included."""

    needs: ClassVar[tuple[str, ...]] = ("products",)
    products: Annotated[float, Linear(5, 250), Within("(0, inf)"), "products"] = 50.0

    def begin(self) -> Test:
        return lambda state: Stop.FIXED_WORK if state.products >= self.products else None
