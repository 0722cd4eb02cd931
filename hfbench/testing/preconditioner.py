"""Contract of preconditioners: M = E Eᵀ symmetric and positive, the same for one generator, its cost counted."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise, zip_longest
from typing import Any

import torch
from torch import Tensor

from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.loss import LOSSES
from hfbench.inner_solve.preconditioning import begin_preconditioning
from hfbench.linalg.layout import LAYOUTS
from hfbench.linalg.vector import Vector
from hfbench.parts.protocols import BuiltPreconditioner, Preconditioner, PreconditionerState
from hfbench.testing.contract import (
    Contract,
    ContractBroken,
    flat,
    global_random_state_kept,
    largest_difference,
    require,
    seeded_generator,
)
from hfbench.testing.kinds import METHOD, require_fields, require_kind, vector_like
from hfbench.testing.operations import Operations
from hfbench.testing.problems import CASES, LEAST, SLACK, Problem, random_vector, work

APPLIED = ("solve", "solve_factor", "solve_factor_t")


class PreconditionerContract(Contract):
    """Contract of a preconditioner (hfbench/parts/protocols.py, `Preconditioner` and `BuiltPreconditioner`)."""

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

    # ------------------------------------------------------------ from step to step

    def test_every_run_begins_alike(self) -> None:
        """Two runs from `begin` have the same steps, the first as by `build`; without `begin` all are as by `build`."""
        first = self._steps(self._begun(), range(3))
        again = self._steps(self._begun(), range(3))
        alone = self._solved(self.preconditioner(), 0)
        for k, (step, other) in enumerate(zip([*first, first[0]], [*again, alone], strict=True)):
            require(
                torch.equal(step, other),
                "the same M at every step of two runs, bit for bit, and from `build` that of the first step",
                f"a difference of {largest_difference(step, other):.1e} "
                + (f"at step {k + 1}" if k < len(first) else "between the first step of a run and `build`"),
                "runs in one process must not see each other; what a run keeps belongs to what `begin` returns",
            )

    def test_goes_on_from_a_saved_state(self) -> None:
        going, why = self._begun(), "an interrupted run must end like one that was not, and reads no code back"
        self._steps(going, range(2))
        resumed = self._begun()
        resumed.load_state_dict(_through_a_file(going.state_dict(), why))
        for k, (step, other) in enumerate(
            zip(*(self._steps(run, range(2, 5)) for run in (resumed, going)), strict=True)
        ):
            require(
                torch.equal(step, other),
                "the same M, bit for bit, at every step after a state was saved and loaded",
                f"a difference of {largest_difference(step, other):.1e} at step {k + 1} after it",
                why,
            )

    def test_leaves_a_saved_state_alone(self) -> None:
        run = self._begun()
        self._steps(run, range(2))
        state = run.state_dict()
        before = copy.deepcopy(state)
        self._steps(run, range(2, 4))
        require(
            _same(state, before),
            "a state as it was given out, whatever is built afterwards",
            "one that changed in place",
            "a step that fails is undone by it, and a checkpoint may be written later",
        )

    # ------------------------------------------------------------ books and manners

    def test_counts_its_cost(self) -> None:
        """The ledger agrees with the floating-point operations of the matrix products done.

        Only the growth of both with the cases is compared: algebra on the matrix itself is not work in the ledger's
        sense.
        """
        few, many = (self._cost(replace(Problem(sizes=(6, 6, 6, 6)), number=number)) for number in (CASES, 2 * CASES))
        done, told = ((after - before) / CASES for before, after in zip(few, many, strict=True))
        require(
            LEAST * told <= done <= SLACK * told,
            f"work in the ledger like the {done:.2f} forward passes that the matrix products done amount to",
            f"{told:.2f}; build M from the linearisation's own methods, which count, or count in its ledger",
            "a preconditioner that is not charged looks better than it is",
        )

    def test_leaves_its_arguments_alone(self) -> None:
        for layout in LAYOUTS:
            problem = Problem(layout=layout)
            system = problem.system()
            at, shift = system.linearisation, Vector(map(torch.as_tensor, system.shift))
            v = problem.vector(random_vector(len(problem.solution)))
            watched = {
                "the vector": v,
                "the shift": shift,
                "the weights": at.blocks,
                "the linearisation's gradient": at.gradient,
                "the linearisation's residual": (at.residual,),
                "the linearisation's outputs": (at.outputs,),
            }
            before = {name: flat(blocks) for name, blocks in watched.items()}
            factor = self._built(at, shift if layout == "flat" else system.shift)
            for name in APPLIED:
                self._applied(factor, name, v)
            changed = [name for name, blocks in watched.items() if not torch.equal(flat(blocks), before[name])]
            require(
                not changed,
                "vector, shift and linearisation as they were",
                f"{' and '.join(changed)} changed in place",
                "the solver and the optimiser go on using them",
            )

    def test_is_replayable_if_it_says_so(self) -> None:
        """M has the same operations for every vector, and the host waits for none of them."""
        why = "on a GPU a solve's later iterations run what was recorded of the third, without asking again"
        for problem in (Problem(layout=layout) for layout in LAYOUTS):
            factor = self._factor(problem)
            if not getattr(factor, "replayable", False):
                continue
            sizes = enumerate((1.0, 1.0, 100.0, 0.01))
            vectors = [problem.vector(size * random_vector(len(problem.solution), seed)) for seed, size in sizes]
            for name in APPLIED:
                _, *calls = [
                    _operations(getattr(factor, name), v) for v in vectors
                ]  # the first makes what is made once
                waits = [wait for made in calls for wait in made.waits]
                require(not waits, f"`{name}` without asking for a number", " and ".join(dict.fromkeys(waits)), why)
                require(
                    calls[0].names == calls[1].names == calls[2].names,
                    f"`{name}` by the same operations whatever the vector holds",
                    f"operations that differ: {_first_difference([made.names for made in calls])}",
                    f"{why}; leave `replayable` out if that cannot be",
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

    def _begun(self) -> PreconditionerState:
        run = begin_preconditioning(self.preconditioner(), Problem().model)
        needed = dict.fromkeys(("build", "state_dict", "load_state_dict"), METHOD)
        require_fields("what `begin` returns", run, needed, "the optimiser builds M with it, saves it and loads it")
        return run

    def _steps(self, run: PreconditionerState, steps: Iterable[int]) -> list[Tensor]:
        """M⁻¹v at each step of a run."""
        return [self._solved(run, k) for k in steps]

    def _solved(self, run: Preconditioner | PreconditionerState, k: int) -> Tensor:
        """M⁻¹v at step k, with separate cases, damping and random numbers."""
        problem = replace(Problem(), damping=0.3 / (k + 1))
        at = problem.linearisation(2 + k)
        shift = at.layout.spread([mu + problem.damping for mu in problem.mu_D])
        v = problem.vector(random_vector(len(problem.solution)))
        return flat(self._applied(self._checked(run.build(at, shift, seeded_generator(k))), "solve", v))

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
    made = Operations()
    with made:
        solve(v)
    return made


def _first_difference(runs: Sequence[Sequence[str]]) -> str:
    """The first operations in which the runs differ."""
    turns = zip_longest(*runs, fillvalue="nothing")
    return next((" or ".join(dict.fromkeys(turn)) for turn in turns if len(set(turn)) > 1), "")


def _through_a_file(state: Any, why: str) -> Any:
    """The state saved and loaded, as checkpoints are."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    try:
        return torch.load(file, weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).partition("\n")[0]
        raise ContractBroken(
            "a state of tensors and plain data", f"one that cannot be read back: {reason}", why
        ) from None


def _same(a: Any, b: Any) -> bool:
    """True if two states are equal, bit for bit."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, Mapping):
        return isinstance(b, Mapping) and list(a) == list(b) and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)
