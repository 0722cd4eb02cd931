"""Small problems with known answers: a damped Gauss-Newton system and its dense matrix in float64.

The matrix is computed by other means than the code under test: Jacobians by reverse mode, and the Hessian of the loss
by double differentiation, case by case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev
from torch.utils.flop_counter import FlopCounterMode

from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.loss import LOSSES
from hfbench.curvature.weight_decay import decay_per_block
from hfbench.curvature.work_ledger import Ledger, PartsLedger
from hfbench.inner_solve.system import GaussNewtonSystem
from hfbench.linalg.vector import Vector
from hfbench.testing.contract import flat, seeded_generator

SIZES = (5, 4, 3)  # units per layer: 39 parameters
CASES = 12
LEAST, SLACK = 0.5, 1.05  # of work done to work told: what the first layer and biases need is no matrix product


@dataclass(frozen=True)
class Problem:
    """System (1), (G + mu D + lambda I) p = -g, for a small network and batch."""

    loss: str = "logistic"
    damping: float = 0.3
    decay: float = 0.01
    shares_cases: bool = True  # gradient and curvature on the same cases
    dtype: torch.dtype = torch.float64
    chunk: int | None = None
    layout: str = "structured"
    right_hand_side: str = "auto"
    sizes: tuple[int, ...] = SIZES
    number: int = CASES

    def __str__(self) -> str:
        cases = "" if self.shares_cases else ", gradient on other cases"
        return f"{self.loss} loss, lambda = {self.damping:g}{cases}, {str(self.dtype).removeprefix('torch.')}"

    @cached_property
    def model(self) -> nn.Sequential:
        """Dense tanh layers with weights of order one."""
        draws = seeded_generator(1)
        layers: list[nn.Module] = []
        for fan_in, units in zip(self.sizes, self.sizes[1:], strict=False):
            with torch.random.fork_rng(devices=[]):
                layer = nn.Linear(fan_in, units, dtype=torch.float64)
            with torch.no_grad():
                layer.weight.copy_(torch.randn(units, fan_in, generator=draws, dtype=torch.float64))
                layer.bias.copy_(0.3 * torch.randn(units, generator=draws, dtype=torch.float64))
            layers += [layer, nn.Tanh()]
        return nn.Sequential(*layers[:-1]).to(self.dtype)

    def cases(self, seed: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of one batch."""
        draws = seeded_generator(seed)
        inputs = torch.randn(self.number, self.sizes[0], generator=draws, dtype=torch.float64).to(self.dtype)
        if self.loss == "softmax":
            return inputs, torch.randint(0, self.sizes[-1], (self.number,), generator=draws)
        return inputs, torch.rand(self.number, self.sizes[-1], generator=draws, dtype=torch.float64).to(self.dtype)

    def linearisation(self, seed: int = 2) -> Linearisation:
        return Linearisation(self.model, self.loss, *self.cases(seed), chunk=self.chunk, layout=self.layout)

    @property
    def mu_D(self) -> tuple[float, ...]:
        return decay_per_block(list(self.model.parameters()), self.decay, "weights")

    def system(self) -> GaussNewtonSystem:
        """The system, built anew, so that it has no cached result of an earlier solve."""
        at = self.linearisation()
        gradient_at = at if self.shares_cases else self.linearisation(3)
        weights = [p.detach() for p in self.model.parameters()]
        g = gradient_at.gradient + at.layout.pack(Vector(weights) * self.mu_D)
        return GaussNewtonSystem(
            at, g, self.damping, self.mu_D, shares_cases=self.shares_cases, right_hand_side=self.right_hand_side
        )

    # ------------------------------------------------------------ the same, dense and in float64

    @property
    def dense(self) -> tuple[Tensor, Tensor]:
        """A = G + mu D + lambda I (P × P) and b = -g (P)."""
        return _dense(replace(self, dtype=torch.float64, chunk=None, layout="structured", right_hand_side="auto"))

    @property
    def solution(self) -> Tensor:
        A, b = self.dense
        x: Tensor = torch.linalg.solve(A, b)
        return x

    def q(self, x: Tensor) -> float:
        """q(x) = ½ xᵀAx - bᵀx."""
        A, b = self.dense
        return float(0.5 * x @ A @ x - b @ x)

    def vector(self, entries: Tensor) -> Vector:
        """A vector of this problem's shapes, layout and dtype."""
        entries = entries.to(self.dtype)
        return Vector((entries,)) if self.layout == "flat" else shaped(entries, list(self.model.parameters()))


@cache
def _dense(problem: Problem) -> tuple[Tensor, Tensor]:
    """A and b of a problem in float64."""
    w = flat(list(problem.model.parameters()))
    sizes = [p.numel() for p in problem.model.parameters()]
    mu = torch.cat([torch.full((size,), mu, dtype=w.dtype) for size, mu in zip(sizes, problem.mu_D, strict=True)])
    G, g = _curvature(problem, 2)
    if not problem.shares_cases:
        g = _curvature(problem, 3)[1]
    return G + torch.diag(mu + problem.damping), -(g + mu * w)


def _curvature(problem: Problem, seed: int) -> tuple[Tensor, Tensor]:
    """G and the gradient of the loss on one batch."""
    model, (inputs, targets) = problem.model, problem.cases(seed)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    blocks = jacrev(lambda w: functional_call(model, w, (inputs,)))(weights)
    J = torch.cat([blocks[name].flatten(2) for name in weights], dim=2)

    def loss_of(z: Tensor, t: Tensor) -> Tensor:
        return LOSSES[problem.loss](z[None], t[None]).value()[0]

    z = model(inputs).detach()
    G, g = torch.zeros(J.shape[2], J.shape[2], dtype=J.dtype), torch.zeros(J.shape[2], dtype=J.dtype)
    for J_i, z_i, t_i in zip(J, z, targets, strict=True):
        G += J_i.T @ jacrev(jacrev(loss_of))(z_i, t_i) @ J_i
        g += J_i.T @ jacrev(loss_of)(z_i, t_i)
    return G / len(J), g / len(J)


def shaped(entries: Tensor, like: Sequence[Tensor]) -> Vector:
    """The entries as blocks shaped like the given ones."""
    parts = torch.split(entries, [block.numel() for block in like])
    return Vector(part.reshape(block.shape) for part, block in zip(parts, like, strict=True))


def work(problem: Problem, ledger: Ledger | PartsLedger, act: Callable[[], object]) -> tuple[float, float]:
    """Work done, by the matrix products that ran, and work counted in the ledger, in forward passes of one case."""
    per_case = 2 * sum(p.numel() for p in problem.model.parameters() if p.dim() == 2)
    before = ledger.work
    with FlopCounterMode(display=False) as counter:
        act()
    return counter.get_total_flops() / per_case, float(ledger.work - before)


def random_vector(entries: int, seed: int = 4) -> Tensor:
    return torch.randn(entries, generator=seeded_generator(seed), dtype=torch.float64)


class DenseFactor:
    """A built preconditioner M = E Eᵀ with a triangular E, so that E⁻¹ and E⁻ᵀ are not the same."""

    def __init__(self, M: Tensor) -> None:
        self.M, self.E = M, torch.linalg.cholesky(M)

    def _applied(self, solve_from: Tensor, v: Vector, upper: bool) -> Vector:
        solved = torch.linalg.solve_triangular(solve_from, flat(v)[:, None], upper=upper)[:, 0]
        return shaped(solved.to(v[0].dtype), v)

    def solve_factor(self, v: Vector) -> Vector:
        return self._applied(self.E, v, upper=False)

    def solve_factor_t(self, v: Vector) -> Vector:
        return self._applied(self.E.T, v, upper=True)

    def solve(self, v: Vector) -> Vector:
        return self.solve_factor_t(self.solve_factor(v))


def unit_factor(entries: int) -> DenseFactor:
    """No preconditioning: M = I."""
    return DenseFactor(torch.eye(entries, dtype=torch.float64))


def rough_factor(A: Tensor) -> DenseFactor:
    """A preconditioner that is neither diagonal nor exact: A plus a random positive matrix."""
    R = torch.randn(len(A), len(A), generator=seeded_generator(5), dtype=torch.float64)
    return DenseFactor(A + 0.2 * R @ R.T / len(A))
