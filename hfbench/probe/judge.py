"""Float64 evaluation of a solve's iterates, on the system and on the objective."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from hfbench.curvature.objective import objective
from hfbench.errors import ConfigError
from hfbench.inner_solve.solve import solve
from hfbench.inner_solve.system import GaussNewtonSystem
from hfbench.linalg.lanczos import ritz_values
from hfbench.linalg.vector import Vector
from hfbench.parts import registry
from hfbench.parts.protocols import BuiltPreconditioner, Preconditioner
from hfbench.probe.frozen_system import FrozenSystem
from hfbench.runs.random_streams import generator

CHUNK = 2048  # cases per forward pass
NORM_STEPS = 15  # of the Lanczos process, for ‖Ã‖: the largest eigenvalue stands far apart
REACHED = 1e-12  # ‖b - Ax‖/‖b‖ of a solution that counts as exact
FACTORED = ("kfac", "chapelle-erhan")  # preconditioners of the exact solve: the first that covers the model
FEW_ROWS = 3000  # outputs of all cases that are solved for directly, by `dual`


@dataclass(frozen=True)
class Exact:
    """The solution x* of a system, computed in float64 to high accuracy."""

    x: Vector
    q: float
    residual: float  # ‖b - Ax‖/‖b‖, plain
    products: int
    slack: float  # (q(x) - q*)/|q(x)| is at most ‖b - Ax‖²/(2 lambda_min |q(x)|), lambda_min >= min(mu D) + lambda

    @property
    def reached(self) -> bool:
        return self.residual <= REACHED

    @property
    def told(self) -> str:
        """One line: the residual reached, and the bound on q* if it is not exact."""
        how = f"exact solution: residual {self.residual:.1e} after {self.products} products in float64"
        if self.reached:
            return how
        return f"{how}; {REACHED:g} could not be reached; q* is at most {self.slack:.0e} |q| lower"


class Judge:
    """A frozen system in float64, and f as a function of the step."""

    def __init__(self, frozen: FrozenSystem, data: str | None = None) -> None:
        self._frozen, self._data = frozen, data
        self.opened = frozen.open(data, "float64", preconditioner={"use": "identity"}, products="parameters")
        self.system = self.opened.system_at()[0].system
        self.g, self.f = self.system.gradient, self.system.right_hand_side
        self.b_norm = self.g.norm()
        self.norm = math.sqrt(float(ritz_values(self.system.multiply, self.g, NORM_STEPS)[-1]))  # ‖Ã‖
        self._before = self._objectives(self.g.zeros_like())
        self.exact: Exact | None = None

    # ------------------------------------------------------------ the exact solution

    def solve_exactly(self, most: int) -> Exact:
        """x* with about `most` products at most, by corrections until rounding stops them.

        Few rows are solved directly, by `dual`; many by conjugate gradients.
        """
        direct = self.system.linearisation.outputs.numel() <= FEW_ROWS
        solver = registry.build("solver", "dual" if direct else "cg")
        M = self._built("identity") if direct else self._factor()
        x, rest, q, residual, products = self.g.zeros_like(), self.f, 0.0, 1.0, 0
        while residual > REACHED and products < most:
            rule = registry.build("rule", {"use": "residual", "rtol": max(0.1 * REACHED / residual, 1e-13)})
            correction = _Correction(self.system, rest)
            found = solve(solver, correction, None, M, [rule], max_iterations=max(1, most - products))
            better = x + found.last.x
            products += math.ceil(found.last.products) + 1
            still = self.f - self.system.forward(better)
            r = self.system.adjoint(still)
            left, gained = r.norm() / self.b_norm, 0.5 * (self.g.dot(better) - better.dot(r))
            halved = left < 0.5 * residual
            if gained < q or left < residual:
                x, rest, q, residual = better, still, gained, left
            if not halved:
                break  # rounding: no start gets further
        least = min(self.opened.optimizer.mu_D) + self.opened.optimizer.damping
        self.exact = Exact(x, q, residual, products, (residual * self.b_norm) ** 2 / (2 * least * max(-q, 1e-300)))
        return self.exact

    def _factor(self) -> BuiltPreconditioner:
        for name in FACTORED[:-1]:
            try:
                return self._built(name)
            except ConfigError:  # a layer that it does not cover
                continue
        return self._built(FACTORED[-1])

    def _built(self, name: str) -> BuiltPreconditioner:
        part: Preconditioner = registry.build("preconditioner", name)
        return part.build(self.system.linearisation, self.system.shift, generator(0, "exact"))

    # ------------------------------------------------------------ an iterate

    def look(self, x: Vector, M: BuiltPreconditioner) -> dict[str, float]:
        """Quality of the iterate x; `M` is the preconditioner of its solver, in the solver's precision."""
        x64 = Vector(block.double() for block in x)
        Ax = self.system.forward(x64)
        rest = self.f - Ax
        r = self.system.adjoint(rest)  # Ãᵀr̃ = b - Ax
        q, r_norm = self.g.dot(x64) + 0.5 * Ax.dot(Ax), r.norm()
        own = Vector(block.to(like.dtype) for block, like in zip(r, x, strict=True))
        found = {
            "q_exact": q,
            "residual": r_norm / self.b_norm,
            "residual_preconditioned": math.sqrt(max(own.dot(M.solve(own)), 0.0)),
            "backward_error": r_norm / (self.norm * rest.norm()) if r_norm > 0 else 0.0,
        }
        if self.exact is not None:
            found["gap"] = max(q - self.exact.q, 0.0) / -self.exact.q  # ‖x - x*‖²/‖x*‖² in the norm of A
            found["distance"] = (x64 - self.exact.x).norm() / self.exact.x.norm()
        after = self._objectives(x64)
        changes = {f"change_{name}": after[name] - self._before[name] for name in after}
        return found | {f"f_{name}": value for name, value in after.items()} | changes

    def _objectives(self, step: Vector) -> dict[str, float]:
        """f(w + step) on the batch and on the training, validation and test cases."""
        opened = self.opened
        w = opened.optimizer.weights + opened.optimizer.layout.unpack(step)
        named = dict(zip(opened.optimizer.names, w, strict=True))

        def f(inputs: Tensor, targets: Tensor) -> float:
            return objective(opened.model, opened.task.loss, inputs, targets, opened.optimizer.mu_D, CHUNK, named)

        splits = {name: getattr(opened.data, name) for name in ("train", "validation", "test")}
        return {"batch": f(*opened.batch)} | {name: f(split.inputs, split.targets) for name, split in splits.items()}


class _Correction:
    """The system of the correction d of an approximate x: min ‖Ãd - rest‖, rest = b̃ - Ãx."""

    def __init__(self, system: GaussNewtonSystem, rest: Vector) -> None:
        self.right_hand_side, self.gradient = rest, -system.adjoint(rest)
        self.multiply, self.forward, self.adjoint = system.multiply, system.forward, system.adjoint
        self.multiply_columns, self.span, self.kernel = system.multiply_columns, system.span, system.kernel
        self.damping, self.root_shift = system.damping, system.root_shift
