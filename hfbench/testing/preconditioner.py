"""The contract of preconditioners: M = E Eᵀ symmetric and positive, the same for one generator, its cost counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hfbench.curvature import Linearisation
from hfbench.protocols import Factor, Preconditioner
from hfbench.testing.contract import Contract, generator, global_random_state_kept, largest_difference, require
from hfbench.testing.problems import CASES, Problem, flat, random_vector

LOSSES = ("least-squares", "logistic", "softmax")
SLACK = 1.05  # the first layer's deltas and biases are not matrix products
LEAST = 0.5


class PreconditionerContract(Contract):
    """What a preconditioner must hold to (hfbench/protocols.py, `Preconditioner` and `Factor`)."""

    def preconditioner(self) -> Preconditioner:
        preconditioner: Preconditioner = self.built()
        return preconditioner

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
        off = largest_difference(flat(factor.solve(problem.vector(v))), inverse @ v)
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
            both = factor.solve_factor_t(factor.solve_factor(v))
            off = largest_difference(flat(both), flat(factor.solve(v)))
            require(
                off <= 1e-10,
                f"E⁻ᵀE⁻¹v = M⁻¹v ({problem})",
                f"a difference of {off:.1e}",
                "LSMR and LSQR use E, CG uses M: they must be preconditioned alike to be compared",
            )
            left, right = factor.solve_factor(u).dot(v), u.dot(factor.solve_factor_t(v))
            require(
                abs(left - right) <= 1e-9 * (abs(left) + abs(right)),
                f"⟨E⁻¹u, v⟩ = ⟨u, E⁻ᵀv⟩ ({problem})",
                f"{left:.12g} and {right:.12g}",
                "with a transpose that is none the least-squares form is another problem",
            )

    def test_follows_the_damping(self) -> None:
        """M approximates G + mu D + lambda I, so that M⁻¹ does not grow with lambda."""
        v = random_vector(len(Problem().solution))
        sizes = []
        for damping in (0.01, 1.0, 100.0):
            problem = replace(Problem(), damping=damping)
            vector = problem.vector(v)
            sizes.append(vector.dot(self._factor(problem).solve(vector)))
        require(
            sizes[0] >= sizes[1] * (1 - 1e-9) and sizes[1] >= sizes[2] * (1 - 1e-9),
            "vᵀM⁻¹v that does not increase when lambda goes from 0.01 to 1 to 100",
            ", ".join(f"{size:.4g}" for size in sizes),
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
        for name in ("solve", "solve_factor", "solve_factor_t"):
            result = getattr(factor, name)(v)
            require(
                result[0].dtype == torch.float32 and result.isfinite(),
                f"{name} finite and in float32 for lambda = 1e-4",
                f"{result[0].dtype}, norm {result.norm():.3g}",
                "training runs in float32 and lowers lambda; what overflows there ends it",
            )
        size = v.dot(factor.solve(v))
        require(size > 0, "vᵀM⁻¹v > 0 in float32", f"{size:.3g}", "rounding must not cost positivity")

    # ------------------------------------------------------------ books and manners

    def test_counts_its_cost(self) -> None:
        """The ledger against the floating-point operations of the matrix products that were really done."""
        problem = Problem(sizes=(6, 6, 6, 6))
        linearisation = problem.linearisation()
        _ = linearisation.gradient, linearisation.outputs, linearisation.loss_at  # known by then in a step
        per_unit = 2 * sum(p.numel() for p in problem.model.parameters() if p.dim() == 2)
        before = linearisation.ledger.work
        with FlopCounterMode(display=False) as counter:
            self._build(problem, linearisation)
        done, told = counter.get_total_flops() / per_unit, linearisation.ledger.work - before
        require(
            LEAST * told <= done <= SLACK * told,
            f"work in the ledger like the {done / CASES:.2f} forward passes that the matrix products done amount to",
            f"{told / CASES:.2f}; build M from the linearisation's own methods, which count",
            "a preconditioner that is not charged looks better than it is",
        )

    def test_leaves_its_arguments_alone(self) -> None:
        problem = Problem()
        linearisation = problem.linearisation()
        gradient = flat(linearisation.gradient)
        shift: Any = list(problem.system().shift)
        factor = self.preconditioner().build(linearisation, shift, generator())
        v = problem.vector(random_vector(len(gradient)))
        kept = flat(v)
        factor.solve(v), factor.solve_factor(v), factor.solve_factor_t(v)
        changed = [
            name
            for name, same in (
                ("the vector", torch.equal(flat(v), kept)),
                ("the linearisation's gradient", torch.equal(flat(linearisation.gradient), gradient)),
                ("the shift", shift == list(problem.system().shift)),
            )
            if not same
        ]
        require(
            not changed,
            "vector, linearisation and shift as they were",
            f"{' and '.join(changed)} changed in place",
            "the solver and the optimiser go on using them",
        )

    def test_says_which_cases_it_is_built_on(self) -> None:
        cases = getattr(self.preconditioner(), "cases", None)
        require(
            cases in ("gradient", "curvature"),
            '`cases: ClassVar[str]`, "gradient" or "curvature"',
            repr(cases),
            "gradient and curvature may be taken on other cases; the optimiser hands over one linearisation",
        )

    # ------------------------------------------------------------ helpers

    def _problems(self) -> list[Problem]:
        return [Problem(loss) for loss in LOSSES]

    def _build(self, problem: Problem, linearisation: Linearisation, seed: int = 0) -> Factor:
        shift: Any = linearisation.layout.spread([mu + problem.damping for mu in problem.mu_D])
        return self.preconditioner().build(linearisation, shift, generator(seed))

    def _factor(self, problem: Problem, seed: int = 0) -> Factor:
        return self._build(problem, problem.linearisation(), seed)

    def _inverse(self, problem: Problem, seed: int = 0) -> Tensor:
        """M⁻¹ column by column."""
        factor = self._factor(problem, seed)
        units = torch.eye(len(problem.solution), dtype=torch.float64)
        return torch.stack([flat(factor.solve(problem.vector(unit))) for unit in units], dim=1)
