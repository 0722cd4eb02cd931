"""Parts as other people would write them, unlike ours and without a mistake: the contracts must find nothing.

Stationary iterations promise no monotone quantity, take products before their first step, and do not look for negative
curvature. The preconditioner is not diagonal and does algebra of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import torch
from faulty.solvers import State
from torch import Generator, Tensor, nn

from hfbench.curvature.linearisation import Linearisation
from hfbench.linalg.vector import Shift, Vector
from hfbench.parts.protocols import Breakdown, BuiltPreconditioner, System
from hfbench.testing.contract import flat
from hfbench.testing.problems import shaped

POWER = 15  # products for each end of the spectrum


class Stationary:
    """Iterations with fixed coefficients, from estimates of the ends of M⁻¹A's spectrum."""

    monotone = ()

    def iterates(self, system: System, x0: Vector | None, preconditioner: BuiltPreconditioner) -> Iterator[State]:
        b = -system.gradient
        norm = b.dot(preconditioner.solve(b)) ** 0.5
        if norm == 0:
            yield State(0, b.zeros_like(), 0.0, 0.0, 0, Breakdown.ZERO_RIGHT_HAND_SIDE)
            return
        high = 1.1 * self.largest(system, preconditioner, b, 0.0)
        low = min(high + self.largest(system, preconditioner, b, high), 0.9 * high)
        x, r, products = (b.zeros_like(), b, 0) if x0 is None else (x0, b - system.multiply(x0), 1)
        products += 2 * POWER
        if low <= 0:
            ry = r.dot(preconditioner.solve(r))
            yield State(0, x, -0.5 * (b + r).dot(x), ry**0.5 / norm, products, Breakdown.NONPOSITIVE_CURVATURE)
            return
        d, coefficients = b.zeros_like(), self.coefficients(low, high)
        for k in count():
            y = preconditioner.solve(r)
            yield State(k, x, -0.5 * (b + r).dot(x), r.dot(y) ** 0.5 / norm, products + k)
            of_y, of_d = next(coefficients)
            d = y * of_y + d * of_d
            x, r = x + d, r - system.multiply(d)

    def largest(self, system: System, preconditioner: BuiltPreconditioner, v: Vector, shift: float) -> float:
        """The eigenvalue of M⁻¹A - shift that is largest in size, by the power method."""
        for _ in range(POWER):
            w = preconditioner.solve(system.multiply(v)).add(v, -shift)
            ratio = v.dot(w) / v.dot(v)
            v = w / w.norm()
        return ratio


class Chebyshev(Stationary):
    """Chebyshev semi-iteration: Saad (2003), algorithm 12.1."""

    def coefficients(self, low: float, high: float) -> Iterator[tuple[float, float]]:
        centre, radius = (high + low) / 2, (high - low) / 2
        rho = radius / centre
        yield 1 / centre, 0.0
        while True:
            rho, before = 1 / (2 * centre / radius - rho), rho
            yield 2 * rho / radius, rho * before


class HeavyBall(Stationary):
    """Gradient descent with momentum: Polyak (1964)."""

    def coefficients(self, low: float, high: float) -> Iterator[tuple[float, float]]:
        total = high**0.5 + low**0.5
        while True:
            yield 4 / total**2, ((high**0.5 - low**0.5) / total) ** 2


class Kronecker:
    """Per layer the Kronecker product of its inputs' and its deltas' second moments: Martens and Grosse (2015)."""

    cases = "gradient"

    def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> Kronecker.Built:
        at, seen = linearisation, {}

        def keep(layer: nn.Module, given: tuple[Tensor, ...], z: Tensor) -> None:
            seen[layer] = given[0].detach(), z

        layers = [layer for layer in at.model.modules() if isinstance(layer, nn.Linear)]
        handles = [layer.register_forward_hook(keep) for layer in layers]
        with torch.enable_grad():
            z = at.model(at.inputs)
        for handle in handles:
            handle.remove()
        deltas = torch.autograd.grad(z, [seen[layer][1] for layer in layers], at.residual)
        at.ledger.count("forward", at.n)
        at.ledger.count("vjp", at.n)
        at.ledger.count("squares", at.n)  # the two products of each layer with itself
        damping = float(flat(shift)[-1]) if isinstance(shift, Vector) else shift[-1]
        factors = []
        for layer, delta in zip(layers, deltas, strict=True):
            a = torch.cat([seen[layer][0], torch.ones(at.n, 1, dtype=delta.dtype)], dim=1)
            A, D = a.T @ a / at.n, delta.T @ delta / at.n
            factors.append([torch.linalg.cholesky(F + damping**0.5 * torch.eye(len(F), dtype=F.dtype)) for F in (A, D)])
        return self.Built(factors, [p.detach() for p in at.model.parameters()])

    class Built:
        def __init__(self, factors: list[list[Tensor]], like: list[Tensor]) -> None:
            self.factors, self.like = factors, like

        def solve_factor(self, v: Vector) -> Vector:
            return self.applied(v, transposed=False)

        def solve_factor_t(self, v: Vector) -> Vector:
            return self.applied(v, transposed=True)

        def solve(self, v: Vector) -> Vector:
            return self.solve_factor_t(self.solve_factor(v))

        def applied(self, v: Vector, transposed: bool) -> Vector:
            blocks = shaped(torch.cat([block.reshape(-1) for block in v]), self.like)
            solved: list[Tensor] = []
            for (L_A, L_D), W, b in zip(self.factors, blocks[::2], blocks[1::2], strict=True):
                V = torch.cat([W, b[:, None]], dim=1)
                if transposed:
                    L_A, L_D = L_A.T, L_D.T
                V = torch.linalg.solve_triangular(L_D, V, upper=transposed)
                V = torch.linalg.solve_triangular(L_A, V.T, upper=transposed).T
                solved += [V[:, :-1], V[:, -1]]
            return shaped(torch.cat([block.reshape(-1) for block in solved]), v)
