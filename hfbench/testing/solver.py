"""Contract of inner solvers: they solve the same problem, and report true values at every step."""

from __future__ import annotations

import math
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from itertools import pairwise
from typing import Any

import torch

from hfbench.curvature.loss import LOSSES
from hfbench.parts.protocols import Breakdown, SolverState
from hfbench.testing.contract import flat, global_random_state_kept, largest_difference, not_applicable, require
from hfbench.testing.kinds import NAMES
from hfbench.testing.problems import DenseFactor, Problem, random_vector, rough_factor, unit_factor
from hfbench.testing.solver_runs import SolverRuns, SolverStep
from hfbench.testing.systems import Indefinite, MatrixAlone


class SolverContract(SolverRuns):
    """Contract of an inner solver (hfbench/parts/protocols.py, `InnerSolver`)."""

    def test_states_are_states(self) -> None:
        """Every state has all fields of the protocol with the right types; all other checks test this as well."""
        for problem, x0, factor in self._variants():
            self._run(problem, x0, factor, steps=25, tolerance=1e-9)

    # ------------------------------------------------------------ the answer

    def test_solves_the_same_problem_as_a_dense_solve(self) -> None:
        for problem, x0, factor in self._variants():
            last = self._run(problem, x0, factor, tolerance=1e-11)[-1]
            A, _ = problem.dense
            error = last.x - problem.solution
            relative = math.sqrt(float(error @ A @ error) / float(problem.solution @ A @ problem.solution))
            require(
                relative <= 1e-7,
                f"the x that solves (G + mu D + lambda I) x = -g ({problem}), to 1e-7 in the norm of the matrix",
                f"after {last.state.k} steps an x that is off by {relative:.1e}",
                "solvers are compared on one problem; another minimiser makes every comparison worthless",
            )

    def test_reports_true_values(self) -> None:
        """q and the relative residual of every state are those of its x."""
        why = "stopping rules, backtracking and rho read it: a wrong one ends solves and damps wrongly"
        for problem, x0, factor in self._variants():
            steps = self._run(problem, x0, factor, steps=25, tolerance=1e-9)
            _require_true_values(problem, factor, steps, of_size=1e-8, relative=1e-6, why=why)

    def test_reports_true_values_in_float32(self) -> None:
        """The same in float32, over many steps, where the matrix has a condition near 1e10."""
        why = "where lambda is small, recurrences for x and for what is told of it may drift apart"
        for loss in LOSSES:
            problem = Problem(loss, damping=1e-10, decay=0.0, dtype=torch.float32)
            A, _ = problem.dense
            for factor in (unit_factor(len(A)), self._factor(rough_factor(A))):
                steps = self._run(problem, None, factor, steps=150)
                _require_true_values(problem, factor, steps, of_size=1e-4, relative=1e-2, why=why)

    def test_keeps_its_monotone_quantity(self) -> None:
        declared = getattr(self.solver(), "monotone", None)
        require(
            NAMES.holds(declared),
            '`monotone: ClassVar[tuple[str, ...]]`, what of its states never increases, such as ("q",), or ()',
            repr(declared),
            "what a method minimises is its name: a change that breaks it is seen at once",
        )
        if not declared:
            not_applicable("it declares no quantity that never increases")
        hard = Problem(damping=1e-3, decay=0.0)
        for problem, x0, factor in (*self._variants(), (hard, None, unit_factor(len(hard.solution)))):
            steps = self._run(problem, x0, factor, steps=60, tolerance=1e-9)
            for name in declared:
                self._never_increases(name, [step.state for step in steps], str(problem))

    # ------------------------------------------------------------ the edges

    def test_reports_a_zero_right_hand_side(self) -> None:
        for problem in (Problem(right_hand_side="damping"), Problem("least-squares", right_hand_side="damping")):
            A, _ = problem.dense
            for x0 in (None, problem.vector(random_vector(len(A)))):
                system = problem.system()
                system.gradient.mul_(0.0)
                states = self._first_states(system, x0, self._factor(rough_factor(A)), 3)
                last = states[-1]
                require(
                    last.breakdown is Breakdown.ZERO_RIGHT_HAND_SIDE and last.k == 0 and flat(last.x).norm() == 0,
                    "for g = 0 one state 0 with x = 0 and breakdown ZERO_RIGHT_HAND_SIDE",
                    f"{len(states)} states, the last with k = {last.k}, breakdown {last.breakdown}, "
                    f"‖x‖ = {float(flat(last.x).norm()):.3g}",
                    "training ends at a stationary point; there the solver must not divide by zero",
                )

    def test_honours_the_warm_start_and_leaves_it_alone(self) -> None:
        for problem in (Problem(), Problem("softmax", shares_cases=False)):
            A, _ = problem.dense
            given = problem.vector(random_vector(len(A)))
            kept = given.clone()
            first = self._run(problem, given, rough_factor(A), steps=8)[0]
            require(
                largest_difference(given, kept) == 0,
                "x0 as it was handed over",
                "x0 was changed in place",
                "it is the optimiser's memory of the step before, and another solver's start",
            )
            require(
                first.state.k == 0 and largest_difference(first.x, flat(kept)) <= 1e-12,
                "state 0 at x0",
                f"a state {first.state.k} that differs from x0 by {largest_difference(first.x, flat(kept)):.1e}",
                "a warm start that is dropped silently changes what is compared",
            )
            cold = self._run(problem, None, rough_factor(A), steps=1)[0]
            require(
                cold.state.k == 0 and float(cold.x.norm()) == 0,
                "state 0 at zero where no x0 is given",
                f"a state {cold.state.k} with ‖x‖ = {float(cold.x.norm()):.3g}",
                "the first step of a run, and every one without warm start, begins there for all solvers",
            )
            at_solution = problem.vector(problem.solution)
            for step in self._run(problem, at_solution, rough_factor(A), steps=5):
                require(
                    largest_difference(step.x, problem.solution) <= 1e-6 and math.isfinite(step.state.q),
                    "an x0 that solves the system is kept",
                    f"step {step.state.k} leaves it by {largest_difference(step.x, problem.solution):.1e}",
                    "late in training warm starts are nearly exact; noise must not be blown up there",
                )

    def test_saves_the_product_at_zero(self) -> None:
        for problem, x0, factor in self._variants():
            if x0 is None:
                continue
            cold, warm = (self._run(problem, start, factor, steps=1)[0].counted for start in (None, x0))
            require(
                cold < warm,
                f"fewer products before state 0 where no x0 is given than the {warm:g} with one ({problem})",
                f"{cold:g}",
                "A 0 = 0: a product with it is work for nothing, at every step of a run without warm start",
            )

    def test_reports_a_breakdown(self) -> None:
        """It reports a breakdown on a matrix with a negative eigenvalue, where q has no minimum."""
        entries = 20
        system = Indefinite(entries)
        try:
            states = self._first_states(system, None, unit_factor(entries), 3 * entries)
        except MatrixAlone as error:
            not_applicable(f"it asks for `{error}`, and a square root of an indefinite matrix there is none")
        broken, last = [state for state in states if state.breakdown is not None], states[-1]
        if not (broken or system.met):
            not_applicable("it went along no direction p with pᵀAp <= 0")
        if broken:
            came = f"{broken[0].breakdown} at state {broken[0].k} of {len(states)}"
            holds = broken[0].breakdown is Breakdown.NONPOSITIVE_CURVATURE and broken[0] is last
        else:  # one that need not look may go downhill for ever
            came = f"{len(states)} states without it, the last at a saddle point of q as if that were the solution"
            holds = last.relative_residual > 1e-3
        require(
            holds,
            "a last state with breakdown NONPOSITIVE_CURVATURE where pᵀAp <= 0 along a direction",
            came,
            "rounding can make the matrix indefinite; a step along such a direction goes uphill",
        )
        for name in self._monotone():
            self._never_increases(name, states, "an indefinite matrix, before the breakdown")

    def test_honours_the_preconditioner_or_refuses_it(self) -> None:
        problem = Problem(damping=0.02, sizes=(6, 5, 4))
        A, _ = problem.dense
        if not getattr(self.solver(), "takes_preconditioner", True):
            not_applicable("it says that it takes none, and the optimiser refuses one")
        plain, exact = (
            self._run(problem, None, M, tolerance=1e-8)[-1].state.k for M in (unit_factor(len(A)), DenseFactor(A))
        )
        require(
            exact <= max(2, plain // 3),
            f"with M = A a third of the {plain} steps without preconditioner, or two, at most; or "
            "`takes_preconditioner: ClassVar[bool] = False`, and none is handed over",
            f"{exact} steps",
            "a preconditioner that is silently ignored makes an ablation of it meaningless",
        )

    # ------------------------------------------------------------ the same whatever the surroundings

    def test_iterates_do_not_depend_on_chunking(self) -> None:
        self._same_iterates("streamed through the model in chunks of 5 and of 1 cases", chunk=5)
        self._same_iterates("streamed through the model in chunks of 5 and of 1 cases", chunk=1)

    def test_iterates_do_not_depend_on_the_layout(self) -> None:
        self._same_iterates("solved with one long vector (layout flat)", layout="flat")

    def test_is_deterministic(self) -> None:
        problem = Problem()
        factor = rough_factor(problem.dense[0])
        once, again = (self._run(problem, None, factor, steps=10) for _ in range(2))
        require(
            len(once) == len(again) and all(_same(a, b) for a, b in zip(once, again, strict=True)),
            "the same iterates, bit for bit, when called again",
            "others",
            "a run that is resumed must equal one that was not interrupted",
        )

    def test_draws_no_random_numbers(self) -> None:
        problem = Problem()
        with global_random_state_kept("a run that is resumed must equal one that was not", "no random numbers"):
            self._run(problem, None, rough_factor(problem.dense[0]), steps=10)

    def test_works_in_float32(self) -> None:
        problem = Problem(dtype=torch.float32)
        A, _ = problem.dense
        last = self._run(problem, None, rough_factor(A), steps=1000, tolerance=1e-5)[-1]
        error = largest_difference(last.x, problem.solution)
        require(
            last.state.x[0].dtype == torch.float32 and error <= 1e-3,
            "iterates of the system's dtype, float32, that solve it to 1e-3",
            f"{last.state.x[0].dtype}, off by {error:.1e} after {last.state.k} steps",
            "training runs in float32: a solver that needs more would double the memory, or fail there",
        )
        for loss in LOSSES:  # this b̃ is large where lambda is small, and q well conditioned all the same
            light = Problem(loss, damping=1e-5, decay=0.0, right_hand_side="damping", dtype=torch.float32)
            for step in self._run(light, None, unit_factor(len(A)), steps=20):
                true = light.q(step.x)
                require(
                    abs(step.state.q - true) <= 1e-3 * abs(true),
                    f"q = {true:.6g} to 1e-3 at step {step.state.k} ({light})",
                    f"{step.state.q:.6g}",
                    "late in training lambda is small, and a q that lost its digits stops solves at random",
                )

    # ------------------------------------------------------------ books and manners

    def test_counts_its_products(self) -> None:
        for problem, x0, factor in self._variants():
            for index, step in enumerate(self._run(problem, x0, factor, steps=10, tolerance=1e-9)):
                require(
                    step.state.k == index,
                    f"states numbered 0, 1, 2, …: {index}",
                    f"k = {step.state.k}",
                    "rules and kept iterates go by k",
                )
                require(
                    step.state.products == step.counted,
                    f"products = {step.counted:g} at state {index}, as the system counted them "
                    "(multiply one, forward and adjoint a half each)",
                    f"{step.state.products:g}",
                    "work is the axis on which solvers are compared",
                )
                require(
                    step.in_ledger == step.done == step.counted,
                    f"the {step.done:g} products that the model has made by state {index} in the ledger, all of them "
                    "asked of the system",
                    f"{step.in_ledger:g} in the ledger and {step.counted:g} of the system",
                    "what is not counted makes a solver look cheaper than it is",
                )

    def test_prints_nothing(self) -> None:
        problem = Problem()
        with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
            self._run(problem, None, rough_factor(problem.dense[0]), steps=10)
        said = (out.getvalue() + err.getvalue()).strip()
        require(
            not said,
            "no printing: states say all",
            f"{said.splitlines()[0] if said else ''!r:.60}",
            "a study solves thousands of systems, and its screen shows its progress",
        )

    def test_states_are_snapshots(self) -> None:
        """States never change after they are yielded, and the system does not change either."""
        problem = Problem()
        A, _ = problem.dense
        system = problem.system()
        gradient = flat(system.gradient)
        steps = self._steps(system, problem.vector(random_vector(len(A))), self._factor(rough_factor(A)), 12)
        late = [step.state.k for step in steps if not torch.equal(flat(step.state.x), step.x)]
        require(
            not late,
            "the x of a state never changes once it was yielded",
            f"those of states {', '.join(map(str, late))} did: give out new vectors, not ones updated in place",
            "backtracking returns to kept iterates, long after the solver went on",
        )
        require(
            torch.equal(gradient, flat(system.gradient)),
            "the system's gradient as it was",
            "it was changed in place",
            "the line search uses it after the solve",
        )

    # ------------------------------------------------------------ helpers

    def _never_increases(self, name: str, states: list[SolverState], where: str) -> None:
        values = [float(getattr(state, name)) for state in states if math.isfinite(state.q)]
        rounding = 1e-10 * max(map(abs, values), default=0.0)
        for k, (before, after) in enumerate(pairwise(values)):
            require(
                after <= before + rounding,
                f"{name}, declared monotone, does not increase ({where})",
                f"{before:.9g} at step {k}, {after:.9g} at step {k + 1}",
                "what a method minimises is its name: another quantity is another method",
            )

    def _same_iterates(self, how: str, **changed: Any) -> None:
        for loss in LOSSES:
            plain = Problem(loss, right_hand_side="damping")
            A, _ = plain.dense
            other = replace(plain, **changed)
            start = random_vector(len(A))
            once, again = (
                self._run(system, system.vector(start), rough_factor(A), steps=6) for system in (plain, other)
            )
            off = [largest_difference(b.x, a.x) for a, b in zip(once, again, strict=False)]
            require(
                len(once) == len(again) and all(difference <= 1e-8 for difference in off),
                f"the same iterates when the batch is {how} ({plain})",
                f"differences of {', '.join(f'{difference:.1e}' for difference in off)}, "
                f"in {len(once)} and {len(again)} states",
                "memory settings must not change results",
            )


def _require_true_values(
    problem: Problem, factor: DenseFactor, steps: list[SolverStep], of_size: float, relative: float, why: str
) -> None:
    """Requires what every state tells to be what its x gives in float64."""
    A, b = problem.dense
    scale = abs(problem.q(problem.solution))
    reference = math.sqrt(float(b @ torch.linalg.solve(factor.M, b)))
    for step in steps:
        x = step.x.double()
        r = b - A @ x
        residual = math.sqrt(float(r @ torch.linalg.solve(factor.M, r))) / reference
        for name, told, true, size in (
            ("q", step.state.q, problem.q(x), scale),
            ("relative_residual", step.state.relative_residual, residual, 1.0),
        ):
            require(
                abs(told - true) <= of_size * size + relative * abs(true),
                f"{name} = {true:.6g} at step {step.state.k} ({problem}), as recomputed from x in float64",
                f"{told:.6g}",
                why,
            )


def _same(a: SolverStep, b: SolverStep) -> bool:
    return torch.equal(a.x, b.x) and a.state.q == b.state.q
