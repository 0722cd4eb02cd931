"""The exact solution of the damped Gauss-Newton system by its rows: few cases and outputs, many parameters.

Problem    minimise q(x) = gᵀx + ½ xᵀAx, A = G + mu D + lambda I symmetric
           positive definite; the minimiser solves Ax = b, b = -g
Formula    A = J̃ᵀJ̃ + Λ, Λ = mu D + lambda I, and b = J̃ᵀc + Λ^½d; by the
           identity of Woodbury
           x = Λ^-½d + Λ⁻¹J̃ᵀ(K + I)⁻¹(c - J̃Λ^-½d),  K = J̃Λ⁻¹J̃ᵀ
           K + I = LLᵀ by Cholesky in float64
           `momentum`: damped towards the start, lambda/2 ‖x - x_0‖² in place
           of lambda/2 ‖x‖² in what is minimised; d grows by lambda Λ^-½x_0
Source     minSR: Chen and Heyl (2024), equation 4; for physics-informed nets
           ENGD-W and, with momentum, SPRING: Goldshlager, Abrahamsen and Lin
           (2024), "A Kaczmarz-inspired approach to accelerate the optimization
           of neural network wavefunctions", algorithm 1, whose mu is
           `globalization.warm_start` here
Symbols    G Gauss-Newton matrix, mu D weight decay, lambda damping, J̃ = BᵀJ/√n
           with m rows, one for each output of each case, (c, d) the right-hand
           side b̃ of the least-squares form
Monotone   q, without momentum: state 0 is the start, state 1 the minimiser
Cost       K from the inputs and deltas of the layers, at most m²P/2
           multiplications, and m³/6 for L; m² numbers of memory. One product
           with A, half a one more in float32, and half a one more with decay or
           momentum. It pays where m is below some thousands and below P; no
           preconditioner is of use
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor

from hfbench.errors import ConfigError
from hfbench.parts import BuiltPreconditioner, System, Vector, Within, part
from hfbench.solvers.exact import ExactState, cholesky, exact_iterates


@final
@part
class Dual:
    """The exact solution from the rows of J: few cases."""

    monotone: ClassVar[tuple[str, ...]] = ("q",)
    takes_preconditioner: ClassVar[bool] = False
    momentum: Annotated[bool, "damp towards the warm start in place of zero"] = False
    most: Annotated[int, Within("[1, 50000]"), "largest number m of rows accepted"] = 5000

    def iterates(self, system: System, x0: Vector | None, preconditioner: BuiltPreconditioner) -> Iterator[ExactState]:
        """x_0 is the initial iterate, x_1 the minimiser of q. Ends with a Breakdown if K + I is not positive definite.

        The preconditioner defines the norm of the residual and has no other effect. Raises ConfigError if m exceeds
        `most`, and unless lambda or the decay of every parameter is positive.
        """

        def solution(b: Vector) -> tuple[Vector, Vector, float]:
            u, root = system.right_hand_side, system.root_shift
            c, d = u[0], b.like(u[1:])
            self._check(c.numel())

            def adjoint(y: Tensor) -> Vector:
                """J̃ᵀy."""
                return system.adjoint(Vector((y.view(c.shape).to(c.dtype), *b.zeros_like())))

            K = system.kernel()
            K.diagonal().add_(1.0)
            L = cholesky(K, products=0)
            x, cost = d / root, 1.0
            pull = x0 * system.damping if self.momentum and x0 is not None else None
            if pull is not None:
                x = x + pull / root / root
            if x.norm() > 0:  # without decay and momentum d = 0, if gradient and curvature share their cases
                c, cost = c - system.forward(x)[0], 1.5
            column = c.double().reshape(-1, 1)
            y = torch.cholesky_solve(column, L)
            x = x + adjoint(y) / root / root
            if c.dtype != torch.float64:  # x is rounded as y is not
                return x, b - system.multiply(x), cost + 0.5
            r = adjoint(column - K @ y)
            return x, r if pull is None else r - pull, cost

        return exact_iterates(system, x0, preconditioner, solution)

    def _check(self, rows: int) -> None:
        if rows > self.most:
            raise ConfigError(
                f"most: the dual solver takes at most {self.most} rows, one for each output of each case, but the "
                f"curvature's batch has {rows}; raise it if {8 * rows**2 / 2**20:.0f} MiB per copy of their matrix are "
                "affordable, take fewer cases, or use another solver."
            )
