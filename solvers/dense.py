"""The exact solution of the damped Gauss-Newton system, for small models.

Problem    minimise q(x) = gᵀx + ½ xᵀAx, A = G + mu D + lambda I symmetric
           positive definite; the minimiser solves Ax = b, b = -g
Formula    A e_j for every unit vector e_j makes A as a matrix, A = LLᵀ by
           Cholesky, and x = L⁻ᵀL⁻¹b, all of it in float64
Source     none: the reference for the iterative solvers
Symbols    G Gauss-Newton matrix, mu D weight decay, lambda damping, P
           parameters
Monotone   q: state 0 is the start, state 1 the minimiser
Cost       P + 1 products with A, the last of which gives q and the residual,
           P² numbers of memory and P³/3 multiplications per solve, whatever the
           start; no preconditioner is of use
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor

from hfbench.errors import ConfigError
from hfbench.linalg.columns import as_column, as_matrix, from_column
from hfbench.parts import BuiltPreconditioner, System, Vector, Within, part
from hfbench.solvers.exact import ExactState, cholesky, exact_iterates

AT_ONCE = 8  # columns of the matrix: more take memory and hardly less time


@final
@part
class Dense:
    """The exact solution by Cholesky, for small models."""

    monotone: ClassVar[tuple[str, ...]] = ("q",)
    takes_preconditioner: ClassVar[bool] = False
    most: Annotated[int, Within("[1, 50000]"), "largest number P of parameters accepted"] = 2000

    def iterates(self, system: System, x0: Vector | None, preconditioner: BuiltPreconditioner) -> Iterator[ExactState]:
        """x_0 is the initial iterate, x_1 the minimiser of q. Ends with a Breakdown if A is not positive definite.

        The preconditioner defines the norm of the residual and has no other effect. Raises ConfigError if P exceeds
        `most`.
        """
        self._check(system.gradient.numel())

        def solution(b: Vector) -> tuple[Vector, Vector, float]:
            L = cholesky(dense_matrix(system), products=b.numel())
            x = from_column(b, torch.cholesky_solve(as_column(b), L))
            return x, b - system.multiply(x), b.numel() + 1  # a product, since the matrix has the rounding of many

        return exact_iterates(system, x0, preconditioner, solution)

    def _check(self, size: int) -> None:
        if size > self.most:
            raise ConfigError(
                f"most: the dense solver takes at most {self.most} parameters, but the model has {size}; raise it if "
                f"{size + 1} products per solve and {8 * size**2 / 2**20:.0f} MiB per copy of the matrix are "
                "affordable, or use another solver."
            )


def dense_matrix(system: System) -> Tensor:
    """A in float64, P × P, from P products, made exactly symmetric."""
    like = system.gradient
    P = like.numel()
    A = torch.empty(P, P, dtype=torch.float64, device=like[0].device)
    for j in range(0, P, AT_ONCE):
        k = min(AT_ONCE, P - j)
        units = torch.zeros(k, P, dtype=torch.float64, device=like[0].device)
        units[:, j : j + k].fill_diagonal_(1)
        products = system.multiply_columns([from_column(like, unit) for unit in units])
        A[:, j : j + k] = as_matrix(products)
    return A.add(A.T).div_(2)
