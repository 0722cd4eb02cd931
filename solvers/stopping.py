"""Stopping rules, shared by all inner solvers: frozen settings, and a new test per solve.

A rule sees every state in order and returns a reason to stop, or None. `needs` names the fields that it reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, final

from hfbench.parts import Integers, Linear, Log, Stop, Within, part
from hfbench.parts.protocols import SolverState

Test = Callable[[Any], Stop | None]


@final
@part
class RelativeProgress:
    """Stop when q has gained too little over the last k steps.

    Formula    stop at the first i > k with q_i < 0 and
               (q_i - q_{i-k})/q_i < k·epsilon,  k = max(k_min, ceil(k_fraction·i))
    Source     Martens (2010), section 4.4
    Symbols    q_i value of the quadratic gᵀx + ½ xᵀAx at iterate i
    """

    needs: ClassVar[tuple[str, ...]] = ("q",)
    epsilon: Annotated[float, Log(5e-5, 5e-3), Within("(0, 1)"), "relative gain per step below which to stop"] = 5e-4
    k_min: Annotated[int, Integers(2, 30), Within("[1, 1e6]"), "shortest window, in steps"] = 10
    k_fraction: Annotated[float, Linear(0.0, 0.5), Within("[0, 1)"), "window as a fraction of the steps done"] = 0.1

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
    """Stop when ‖b - Ax‖ <= rtol·‖b‖ in the M⁻¹ norm.

    Formula    stop when ‖b - Ax‖ <= rtol·‖b‖, ‖r‖² = rᵀM⁻¹r
    Source     the usual test of Krylov methods; Martens (2010), section 4.4, says
               why it is less suitable for Hessian-free optimisation
    Symbols    A = G + mu D + lambda I, b = -g, M preconditioner
    """

    needs: ClassVar[tuple[str, ...]] = ("relative_residual",)
    rtol: Annotated[float, Log(1e-4, 0.5), Within("(0, 1)"), "residual relative to the gradient"] = 1e-2

    def begin(self) -> Test:
        return lambda state: Stop.RESIDUAL if state.relative_residual <= self.rtol else None


@final
@part
class BackwardError:
    """Stop when ‖Ãᵀr̃‖ <= atol·‖Ã‖·‖r̃‖ (LSMR and LSQR only).

    Formula    stop when ‖Ãᵀr̃‖ <= atol·‖Ã‖·‖r̃‖, r̃ = b̃ - Ãx: x then
               solves exactly a problem whose Ã differs by a relative atol at most
    Source     Fong and Saunders (2011), section 3.2
    Symbols    Ã, b̃ least-squares form of the system; ‖Ã‖ Frobenius norm as far as
               bidiagonalised
    """

    needs: ClassVar[tuple[str, ...]] = ("backward_error",)
    atol: Annotated[float, Log(1e-6, 1e-1), Within("(0, 1)"), "backward error at which to stop"] = 1e-3

    def begin(self) -> Test:
        return lambda state: Stop.BACKWARD_ERROR if state.backward_error <= self.atol else None


@final
@part
class FixedIterations:
    """Stop after a fixed number of inner iterations.

    Formula    stop when k >= iterations
    Source     none: for comparing solvers step by step
    Symbols    k inner iterations done
    """

    needs: ClassVar[tuple[str, ...]] = ("k",)
    iterations: Annotated[int, Integers(5, 250, log=True), Within("[1, 1e6]"), "inner iterations"] = 50

    def begin(self) -> Test:
        return lambda state: Stop.FIXED_ITERATIONS if state.k >= self.iterations else None


@final
@part
class FixedWork:
    """Stop after a fixed number of Gauss-Newton products.

    Formula    stop when the products with A, those of the start-up included, are
               `products` or more; one with Ã and one with Ãᵀ count as one
    Source     none: for comparing solvers at equal work
    """

    needs: ClassVar[tuple[str, ...]] = ("products",)
    products: Annotated[float, Linear(5, 250), Within("[1, 1e6]"), "products"] = 50.0

    def begin(self) -> Test:
        return lambda state: Stop.FIXED_WORK if state.products >= self.products else None
