"""Contract of a built preconditioner: M = E Eᵀ symmetric and positive, the same for one generator, replayable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise, zip_longest
from typing import Any

import torch
from torch import Tensor

from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.loss import LOSSES
from hfbench.linalg.layout import LAYOUTS
from hfbench.linalg.vector import Vector
from hfbench.parts.protocols import BuiltPreconditioner, Preconditioner
from hfbench.testing.contract import (
    Contract,
    flat,
    global_random_state_kept,
    largest_difference,
    require,
    seeded_generator,
)
from hfbench.testing.kinds import METHOD, require_fields, require_kind, vector_like
from hfbench.testing.operations import Operations
from hfbench.testing.problems import Problem, random_vector, work

APPLIED = ("solve", "solve_factor", "solve_factor_t")


class BuiltContract(Contract):
    """Checks of what `build` gives (hfbench/parts/protocols.py, `BuiltPreconditioner`)."""

    def preconditioner(self) -> Preconditioner:
        preconditioner: Preconditioner = self.built()
        return preconditioner

    def test_builds_a_factor(self) -> None:
        """M has the three methods of `BuiltPreconditioner`, and each maps a vector to a vector."""
        problem = Problem()
        v = problem.vector(random_vector(len(problem.solution)))
        factor = self._factor(problem)
        for name in APPLIED:
            self._applied(factor, name, v)

    # ------------------------------------------------------------ the matrix

    def test_is_symmetric_and_positive(self) -> None:
        for problem in self._problems():
            inverse = self._inverse(problem)
            asymmetry = largest_difference(inverse, inverse.T)
            require(
                asymmetry <= 1e-10,
                f"uᵀM⁻¹v = vᵀM⁻¹u ({problem})",
                f"a matrix M⁻¹ that differs from its transpose by {asymmetry:.1e}",
                "CG and MINRES assume a symmetric M; with another they solve nothing in particular",
            )
            least = float(torch.linalg.eigvalsh((inverse + inverse.T) / 2).min())
            require(
                least > 0,
                f"vᵀM⁻¹v > 0 for every v ({problem})",
                f"an eigenvalue {least:.3g} of M⁻¹",
                "a direction with vᵀM⁻¹v <= 0 turns descent into ascent",
            )

    def test_is_linear(self) -> None:
        problem = Problem()
        factor, inverse = self._factor(problem), self._inverse(problem)
        v = random_vector(len(inverse))
        off = largest_difference(flat(self._applied(factor, "solve", problem.vector(v))), inverse @ v)
        require(
            off <= 1e-10,
            "M⁻¹v as a linear map of v, the same whenever it is applied within a solve",
            f"a result that differs from the sum over v's entries by {off:.1e}",
            "Krylov methods need one fixed matrix per solve",
        )

    def test_its_factors_make_its_inverse(self) -> None:
        for problem in self._problems():
            factor = self._factor(problem)
            u, v = (problem.vector(random_vector(len(problem.solution), seed)) for seed in (4, 8))
            lower, whole = self._applied(factor, "solve_factor", v), self._applied(factor, "solve", v)
            off = largest_difference(flat(self._applied(factor, "solve_factor_t", lower)), flat(whole))
            require(
                off <= 1e-10,
                f"E⁻ᵀE⁻¹v = M⁻¹v ({problem})",
                f"a difference of {off:.1e}",
                "LSMR and LSQR use E, CG uses M: they must be preconditioned alike to be compared",
            )
            left = self._applied(factor, "solve_factor", u).dot(v)
            right = u.dot(self._applied(factor, "solve_factor_t", v))
            require(
                abs(left - right) <= 1e-9 * (abs(left) + abs(right)),
                f"⟨E⁻¹u, v⟩ = ⟨u, E⁻ᵀv⟩ ({problem})",
                f"{left:.12g} and {right:.12g}",
                "with a transpose that is none the least-squares form is another problem",
            )

    def test_follows_the_damping(self) -> None:
        """G + mu D + lambda I tends to a multiple of I as lambda grows, so the condition of M must fall towards one."""
        dampings = (0.01, 1.0, 100.0)
        conditions = [self._condition(replace(Problem(), damping=damping)) for damping in dampings]
        falls = all(after <= before * (1 + 1e-9) for before, after in pairwise(conditions))
        require(
            falls and (conditions[-1] < conditions[0] or conditions[0] <= 1 + 1e-6),
            "a ratio of M's largest to its smallest eigenvalue that falls as lambda goes from 0.01 to 1 to 100",
            ", ".join(f"{condition:.4g}" for condition in conditions),
            "lambda changes by orders of magnitude in training; M must change with the system",
        )

    # ------------------------------------------------------------ the same whatever the surroundings

    def test_is_deterministic_for_a_generator(self) -> None:
        problem = Problem()
        why = "runs are paired by their named random streams; another source breaks pairing and resuming"
        with global_random_state_kept(why):
            once, again = (self._inverse(problem, seed=3) for _ in range(2))
        require(
            torch.equal(once, again),
            "the same M, bit for bit, from generators of one seed",
            f"a difference of {largest_difference(once, again):.1e}",
            why,
        )

    def test_does_not_depend_on_chunking_or_layout(self) -> None:
        plain = Problem()
        inverse = self._inverse(plain)
        for how, other in (
            ("in chunks of 5 cases", replace(plain, chunk=5)),
            ("with one long vector (layout flat)", replace(plain, layout="flat")),
        ):
            off = largest_difference(self._inverse(other), inverse)
            require(
                off <= 1e-10,
                f"the same M {how}",
                f"a difference of {off:.1e}",
                "memory settings must not change results",
            )

    def test_works_in_float32(self) -> None:
        problem = Problem(dtype=torch.float32, damping=1e-4)
        v = problem.vector(random_vector(len(problem.solution)))
        factor = self._factor(problem)
        for name in APPLIED:
            result = self._applied(factor, name, v)
            require(
                result[0].dtype == torch.float32 and result.isfinite(),
                f"{name} finite and in float32 for lambda = 1e-4",
                f"{result[0].dtype}, norm {result.norm():.3g}",
                "training runs in float32 and lowers lambda; what overflows there ends it",
            )
        size = v.dot(self._applied(factor, "solve", v))
        require(size > 0, "vᵀM⁻¹v > 0 in float32", f"{size:.3g}", "rounding must not cost positivity")

    def test_is_replayable_if_it_says_so(self) -> None:
        """M has the same operations on the same memory for every vector, and the host waits for none of them."""
        why = "on a GPU a solve's later iterations run what was recorded of the third, without asking again"
        for problem in (Problem(layout=layout) for layout in LAYOUTS):
            factor = self._factor(problem)
            if not getattr(factor, "replayable", False):
                continue
            sizes = enumerate((1.0, 1.0, 100.0, 0.01))
            vectors = [problem.vector(size * random_vector(len(problem.solution), seed)) for seed, size in sizes]
            for name in APPLIED:
                solve = getattr(factor, name)
                solve(vectors[0])  # makes what is made once
                before = _plain_attributes(factor)
                calls = [_operations(solve, v) for v in vectors[1:]]
                waits = [wait for made in calls for wait in made.waits]
                require(not waits, f"`{name}` without asking for a number", " and ".join(dict.fromkeys(waits)), why)
                require(
                    calls[0].names == calls[1].names == calls[2].names,
                    f"`{name}` by the same operations whatever the vector holds",
                    f"operations that differ: {_first_difference([made.names for made in calls])}",
                    f"{why}; leave `replayable` out if that cannot be",
                )
                require(
                    calls[0].memory == calls[1].memory == calls[2].memory,
                    f"`{name}` on the same memory whatever the vector holds",
                    "tensors in other places at another call",
                    f"{why}; leave `replayable` out if that cannot be",
                )
                changed = [f"a tensor of shape {shape}" for made in calls for shape in made.changed()]
                changed += [key for key, value in _plain_attributes(factor).items() if before.get(key) != value]
                require(
                    not changed,
                    f"`{name}` to change nothing but the counts of the linearisation's ledger",
                    f"{' and '.join(dict.fromkeys(changed))} changed",
                    why,
                )

    # ------------------------------------------------------------ helpers

    def _problems(self) -> list[Problem]:
        return [Problem(loss) for loss in LOSSES]

    def _build(self, problem: Problem, linearisation: Linearisation, seed: int = 0) -> BuiltPreconditioner:
        return self._built(
            linearisation, linearisation.layout.spread([mu + problem.damping for mu in problem.mu_D]), seed
        )

    def _built(self, linearisation: Linearisation, shift: Any, seed: int = 0) -> BuiltPreconditioner:
        return self._checked(self.preconditioner().build(linearisation, shift, seeded_generator(seed)))

    def _checked(self, factor: BuiltPreconditioner) -> BuiltPreconditioner:
        why = "CG and MINRES apply M⁻¹, LSMR and LSQR its factors"
        require_fields("what `build` returns", factor, dict.fromkeys(APPLIED, METHOD), why)
        return factor

    def _applied(self, factor: BuiltPreconditioner, name: str, v: Vector) -> Vector:
        """M⁻¹v, E⁻¹v or E⁻ᵀv."""
        result: Vector = getattr(factor, name)(v)
        why = "solvers take dot products and sums of it with the vectors they have"
        require_kind(f"what `{name}` returns", result, vector_like(v), why)
        return result

    def _factor(self, problem: Problem, seed: int = 0) -> BuiltPreconditioner:
        return self._build(problem, problem.linearisation(), seed)

    def _condition(self, problem: Problem) -> float:
        """The ratio of M's largest to its smallest eigenvalue."""
        eigenvalues = torch.linalg.eigvalsh(self._inverse(problem))
        return float(eigenvalues.max() / eigenvalues.min())

    def _cost(self, problem: Problem) -> tuple[float, float]:
        """Work done, and work counted, when M is built."""
        at = problem.linearisation()
        at.gauss_newton(at.gradient)  # records the graph that all products share
        return work(problem, at.ledger, lambda: self._build(problem, at))

    def _inverse(self, problem: Problem, seed: int = 0) -> Tensor:
        """M⁻¹ column by column."""
        factor = self._factor(problem, seed)
        units = torch.eye(len(problem.solution), dtype=torch.float64)
        return torch.stack([flat(self._applied(factor, "solve", problem.vector(unit))) for unit in units], dim=1)


def _operations(solve: Callable[[Vector], Vector], v: Vector) -> Operations:
    made = Operations(v)
    with made:
        solve(v)
    return made


def _first_difference(runs: Sequence[Sequence[str]]) -> str:
    """The first operations in which the runs differ."""
    turns = zip_longest(*runs, fillvalue="nothing")
    return next((" or ".join(dict.fromkeys(turn)) for turn in turns if len(set(turn)) > 1), "")


def _plain_attributes(factor: BuiltPreconditioner) -> dict[str, Any]:
    """The numbers and texts among what it holds."""
    held = getattr(factor, "__dict__", {})
    return {name: value for name, value in held.items() if isinstance(value, bool | int | float | str)}
