"""Solvers with one mistake each that a person could make, and the check of the contract that must tell.

`caught_by` names the check, `says` what its message must speak of.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from types import SimpleNamespace
from typing import Any

import torch

from hfbench.curvature.linearisation import Linearisation
from hfbench.linalg.vector import Vector
from hfbench.parts.protocols import Breakdown, BuiltPreconditioner, System
from hfbench.testing.contract import flat


@dataclass(frozen=True)
class State:
    k: int
    x: Vector
    q: float
    relative_residual: float
    products: float
    breakdown: Breakdown | None = None


class Honest:
    """Conjugate gradients, right in all that a subclass does not replace."""

    monotone = ("q",)
    first = 0  # k of the first state

    def iterates(self, system: System, x0: Vector | None, preconditioner: BuiltPreconditioner) -> Iterator[State]:
        b = -system.gradient
        bMb = b.dot(preconditioner.solve(b))
        if bMb == 0:
            yield self.nothing_to_solve(b, x0)
            return
        x, r, products = self.start(system, b, x0)
        p, ry, breakdown = None, 1.0, None
        for k in count(self.first):
            told = self.q(system, b, x, r), self.relative_residual(preconditioner, r, b, bMb)
            yield State(k, self.given(x), *told, products, breakdown)
            y = self.preconditioned(preconditioner, r)
            ry, before = r.dot(y), ry
            if ry == 0 or breakdown is not None:
                return
            p = self.direction(y) if p is None else self.next_direction(p, y, ry / before)
            Ap = self.product(system, p)
            products += 1
            pAp = p.dot(Ap)
            if self.breaks_down(pAp):
                breakdown = Breakdown.NONPOSITIVE_CURVATURE
                continue
            alpha = self.step(r.dot(p) / pAp)
            x, r = self.moved(x, p, alpha), r.add(Ap, -alpha)

    def nothing_to_solve(self, b: Vector, x0: Vector | None) -> State:
        return State(self.first, b.zeros_like(), 0.0, 0.0, 0, Breakdown.ZERO_RIGHT_HAND_SIDE)

    def start(self, system: System, b: Vector, x0: Vector | None) -> tuple[Vector, Vector, float]:
        return (b.zeros_like(), b.clone(), 0) if x0 is None else (x0, b - system.multiply(x0), 1)

    def product(self, system: System, p: Vector) -> Vector:
        return system.multiply(p)

    def preconditioned(self, preconditioner: BuiltPreconditioner, r: Vector) -> Vector:
        return preconditioner.solve(r)

    def direction(self, y: Vector) -> Vector:
        return y

    def next_direction(self, p: Vector, y: Vector, beta: float) -> Vector:
        return y.add(p, beta)

    def breaks_down(self, pAp: float) -> bool:
        return pAp <= 0

    def step(self, alpha: float) -> float:
        return alpha

    def moved(self, x: Vector, p: Vector, alpha: float) -> Vector:
        return x.add(p, alpha)

    def given(self, x: Vector) -> Vector:
        return x

    def q(self, system: System, b: Vector, x: Vector, r: Vector) -> float:
        return -0.5 * (b + r).dot(x)

    def relative_residual(self, preconditioner: BuiltPreconditioner, r: Vector, b: Vector, bMb: float) -> float:
        return (r.dot(preconditioner.solve(r)) / bMb) ** 0.5


class HonestDescent(Honest):
    """Steepest descent: every direction is a new one."""

    def next_direction(self, p: Vector, y: Vector, beta: float) -> Vector:
        return self.direction(y)


def upper_block(system: System, v: Vector) -> Vector:
    """Ãᵀ of Ãv with all but its block of outputs dropped: G v."""
    outputs, *rest = system.forward(v)
    return system.adjoint(Vector((outputs, *Vector(rest).zeros_like())))


# ---------------------------------------------------------------- manners


class MultipliesZero(Honest):
    """Computes the residual at zero by a product."""

    caught_by, says = "test_saves_the_product_at_zero", "fewer products before state 0"

    def start(self, system: System, b: Vector, x0: Vector | None) -> tuple[Vector, Vector, float]:
        return super().start(system, b, b.zeros_like() if x0 is None else x0)


class Draws(Honest):
    """Draws a number at its start."""

    caught_by, says = "test_draws_no_random_numbers", "torch's global generator"

    def start(self, system: System, b: Vector, x0: Vector | None) -> tuple[Vector, Vector, float]:
        torch.rand(())
        return super().start(system, b, x0)


class Prints(Honest):
    """Tells how it goes."""

    caught_by, says = "test_prints_nothing", "step alpha = "

    def step(self, alpha: float) -> float:
        print(f"step alpha = {alpha}")
        return alpha


class StartsAside(Honest):
    """Starts at the scaled right-hand side where it is given no start."""

    caught_by, says = "test_honours_the_warm_start_and_leaves_it_alone", "state 0 at zero where no x0 is given"

    def start(self, system: System, b: Vector, x0: Vector | None) -> tuple[Vector, Vector, float]:
        return super().start(system, b, b * 0.1 if x0 is None else x0)


# ---------------------------------------------------------------- states


class GivesTensors(Honest):
    """Leaves q a tensor, which neither trace nor record can keep."""

    caught_by, says = "test_states_are_states", "where q is a tensor of shape ()"

    def q(self, system: System, b: Vector, x: Vector, r: Vector) -> float:
        return torch.tensor(super().q(system, b, x, r))


class YieldsTuples(Honest):
    """Yields what it knows, and no names for it."""

    caught_by, says = "test_states_are_states", "but a tuple of length 3"

    def iterates(self, system: System, x0: Vector | None, preconditioner: BuiltPreconditioner) -> Iterator[Any]:
        for state in super().iterates(system, x0, preconditioner):
            yield state.k, state.x, state.q


class NoBreakdown(Honest):
    """Has no field for a breakdown, as it never looks for one."""

    caught_by, says = "test_states_are_states", "a SimpleNamespace, where breakdown is missing"

    def iterates(self, system: System, x0: Vector | None, preconditioner: BuiltPreconditioner) -> Iterator[Any]:
        for state in super().iterates(system, x0, preconditioner):
            fields = dict(vars(state))
            del fields["breakdown"]
            yield SimpleNamespace(**fields)


class PropertyFails(Honest):
    """Its residual, worked out when it is asked for, reads what there is none of."""

    caught_by, says = "test_states_are_states", "relative_residual raises AttributeError: "

    class Lazy(SimpleNamespace):
        @property
        def relative_residual(self) -> float:
            return self.q.residual

    def iterates(self, system: System, x0: Vector | None, preconditioner: BuiltPreconditioner) -> Iterator[Any]:
        for one in super().iterates(system, x0, preconditioner):
            yield self.Lazy(k=one.k, x=one.x, q=one.q, products=one.products, breakdown=one.breakdown)


class ComplexRoot(Honest):
    """Takes the root of a sum that rounding, here the sign, has made negative."""

    caught_by, says = "test_states_are_states", "(complex)"

    def relative_residual(self, preconditioner: BuiltPreconditioner, r: Vector, b: Vector, bMb: float) -> float:
        return (-r.dot(preconditioner.solve(r)) / bMb) ** 0.5


class OneLongVector(Honest):
    """Gives x out as one long tensor."""

    caught_by, says = "test_states_are_states", "x is a tensor of shape (39,), torch.float64"

    def given(self, x: Vector) -> Vector:
        return flat(x)


class PlainTuple(Honest):
    """Gives x out as a tuple of tensors, which has no arithmetic."""

    caught_by, says = "test_states_are_states", "x is a tuple of length 4"

    def given(self, x: Vector) -> Vector:
        return tuple(x)


class SaysWhyInWords(Honest):
    """Says in words of its own why it ended."""

    caught_by, says = "test_states_are_states", "breakdown is 'none so far' (str)"

    def iterates(self, system: System, x0: Vector | None, preconditioner: BuiltPreconditioner) -> Iterator[Any]:
        for state in super().iterates(system, x0, preconditioner):
            yield replace(state, breakdown="none so far")


class NamesWhatIsNotThere(Honest):
    """Declares monotone what its states do not have."""

    caught_by, says = "test_states_are_states", "where residual is missing"
    monotone = ("q", "residual")


class ReturnsNothing(Honest):
    """Forgets to give its states out."""

    caught_by, says = "test_states_are_states", "`iterates` to be a generator"

    def iterates(self, system: System, x0: Vector | None, preconditioner: BuiltPreconditioner) -> Iterator[State]:
        super().iterates(system, x0, preconditioner)


# ---------------------------------------------------------------- the answer


class WithoutDamping(Honest):
    """Takes the rows of Ã that come from the model and forgets those of the damping: solves G x = -g."""

    caught_by, says = "test_solves_the_same_problem_as_a_dense_solve", "the x that solves (G + mu D + lambda I) x = -g"

    def product(self, system: System, p: Vector) -> Vector:
        return upper_block(system, p)


class TowardsX0(Honest):
    """Shifts b̃ by Jx0 and not by the damping's rows, as SciPy does with damp and x0: regularises towards x0."""

    caught_by, says = "test_solves_the_same_problem_as_a_dense_solve", "the x that solves (G + mu D + lambda I) x = -g"

    def start(self, system: System, b: Vector, x0: Vector | None) -> tuple[Vector, Vector, float]:
        return super().start(system, b, x0) if x0 is None else (x0, b - upper_block(system, x0), 1)


class WithoutHalf(Honest):
    """Reports gᵀx + xᵀAx: the half is forgotten."""

    caught_by, says = "test_reports_true_values", "q = "

    def q(self, system: System, b: Vector, x: Vector, r: Vector) -> float:
        return -r.dot(x)


class PlainResidual(Honest):
    """Reports ‖r‖/‖b‖ in the 2-norm, not in that of M⁻¹."""

    caught_by, says = "test_reports_true_values", "relative_residual = "

    def relative_residual(self, preconditioner: BuiltPreconditioner, r: Vector, b: Vector, bMb: float) -> float:
        return r.norm() / b.norm()


class DriftsApart(Honest):
    """Takes x from another recurrence than the residual: MINRES by Lanczos vectors and rotations."""

    caught_by, says = "test_reports_true_values_in_float32", "relative_residual = "

    def iterates(self, system: System, x0: Vector | None, preconditioner: BuiltPreconditioner) -> Iterator[State]:
        b = -system.gradient
        phi = reference = beta = b.norm()
        x = d = d_old = v = b.zeros_like()
        p = b
        c, s, delta, epsilon = -1.0, 0.0, 0.0, 0.0
        for k in count():
            yield State(k, x, self.q(system, b, x, b - system.multiply(x)), phi / reference, 2 * k)
            v_old, v = v, p * (1 / beta)
            p = system.multiply(v).add(v_old, -beta)
            alpha = v.dot(p)
            p = p.add(v, -alpha)
            beta = p.norm()
            delta2, gamma = c * delta + s * alpha, s * delta - c * alpha
            epsilon_k, epsilon, delta = epsilon, s * beta, -c * beta
            gamma2 = math.hypot(gamma, beta)
            c, s = gamma / gamma2, beta / gamma2
            d, d_old = (v.add(d, -delta2).add(d_old, -epsilon_k)) * (1 / gamma2), d
            x, phi = x.add(d, c * phi), s * phi


class SaysNothing(Honest):
    """Does not say what it minimises."""

    caught_by, says = "test_keeps_its_monotone_quantity", "monotone"
    monotone = None


class SaysTheWrongThing(Honest):
    """Takes over from MINRES what CG does not promise."""

    caught_by, says = "test_keeps_its_monotone_quantity", "relative_residual, declared monotone"
    monotone = ("q", "relative_residual")


class TooLong(HonestDescent):
    """Steps beyond the point where q is again as high as before."""

    caught_by, says = "test_keeps_its_monotone_quantity", "q, declared monotone"

    def step(self, alpha: float) -> float:
        return 2.2 * alpha


# ---------------------------------------------------------------- the edges


class DividesByZero(Honest):
    """Divides by ‖b‖ unasked."""

    caught_by, says = "test_reports_a_zero_right_hand_side", "ZeroDivisionError"

    def nothing_to_solve(self, b: Vector, x0: Vector | None) -> State:
        return State(0, b, 0.0, 1 / b.norm(), 0)


class StaysAtX0(Honest):
    """For g = 0 gives the warm start back as if it were the solution."""

    caught_by, says = "test_reports_a_zero_right_hand_side", "‖x‖ = "

    def nothing_to_solve(self, b: Vector, x0: Vector | None) -> State:
        return State(0, x0 or b.zeros_like(), 0.0, 0.0, 0, Breakdown.ZERO_RIGHT_HAND_SIDE)


class ChangesX0(Honest):
    """Saves a vector by updating x0 itself."""

    caught_by, says = "test_honours_the_warm_start_and_leaves_it_alone", "x0 was changed in place"

    def moved(self, x: Vector, p: Vector, alpha: float) -> Vector:
        return x.add_(p, alpha)

    def given(self, x: Vector) -> Vector:
        return x.clone()


class DropsX0(Honest):
    """Takes the argument and starts at zero."""

    caught_by, says = "test_honours_the_warm_start_and_leaves_it_alone", "state 0 at x0"

    def start(self, system: System, b: Vector, x0: Vector | None) -> tuple[Vector, Vector, float]:
        return super().start(system, b, None)


class BlowsUpNoise(Honest):
    """Cuts steps off below and not above: takes a step of rounding errors for one of the right length."""

    caught_by, says = "test_honours_the_warm_start_and_leaves_it_alone", "an x0 that solves the system is kept"

    def moved(self, x: Vector, p: Vector, alpha: float) -> Vector:
        return x.add(p, max(alpha, 1e-3 / p.norm()))


class IgnoresNegativeCurvature(Honest):
    """Goes on along a direction with pᵀAp <= 0, and ends at a saddle point."""

    caught_by, says = "test_reports_a_breakdown", "NONPOSITIVE_CURVATURE"

    def breaks_down(self, pAp: float) -> bool:
        return False


class IgnoresNegativeCurvatureUnsaid(IgnoresNegativeCurvature):
    """The same, by one that declares nothing as monotone."""

    monotone = ()


class SaysTheWrongBreakdown(Honest):
    """Reports pᵀAp <= 0 as if the gradient were zero."""

    caught_by, says = "test_reports_a_breakdown", "ZERO_RIGHT_HAND_SIDE"

    def iterates(self, system: System, x0: Vector | None, preconditioner: BuiltPreconditioner) -> Iterator[State]:
        for state in super().iterates(system, x0, preconditioner):
            given = state.breakdown and Breakdown.ZERO_RIGHT_HAND_SIDE
            yield State(state.k, state.x, state.q, state.relative_residual, state.products, given)


class IgnoresThePreconditioner(Honest):
    """Measures with M and searches without it."""

    caught_by, says = "test_honours_the_preconditioner_or_refuses_it", "with M = A"

    def preconditioned(self, preconditioner: BuiltPreconditioner, r: Vector) -> Vector:
        return r


# ---------------------------------------------------------------- the same whatever the surroundings


class FirstChunk(Honest):
    """Looks behind the system, and there at the first chunk alone."""

    caught_by, says = "test_iterates_do_not_depend_on_chunking", "chunks of 5"

    def product(self, system: System, p: Vector) -> Vector:
        at, shift = system.linearisation, system.shift
        first = at.slices[0]
        chunk = Linearisation(at.model, at.loss, at.inputs[first], at.targets[first])
        return (p * shift).add_(chunk.layout.pack(chunk.gauss_newton(at.layout.unpack(p))))


class ScalesBlocks(HonestDescent):
    """Normalises each layer's part of the direction, which in the flat layout is all of it."""

    caught_by, says = "test_iterates_do_not_depend_on_the_layout", "layout flat"

    def direction(self, y: Vector) -> Vector:
        return Vector(block / block.norm() for block in y)


class Random(HonestDescent):
    """Drops half of the entries at random, by torch's global generator."""

    caught_by, says = "test_is_deterministic", "when called again"

    def direction(self, y: Vector) -> Vector:
        return Vector(block * (torch.rand(block.shape) < 0.5) for block in y)


class ReturnsFloat64(Honest):
    """Converts to float64 and not back."""

    caught_by, says = "test_works_in_float32", "torch.float64"

    def given(self, x: Vector) -> Vector:
        return Vector(block.double() for block in x)


class LosesDigits(Honest):
    """Takes q as ½‖Ãx - b̃‖² - ½‖b̃‖², two large numbers whose difference is small."""

    caught_by, says = "test_works_in_float32", "q = "

    def q(self, system: System, b: Vector, x: Vector, r: Vector) -> float:
        b_tilde = system.right_hand_side
        return 0.5 * (system.system.forward(x) - b_tilde).norm() ** 2 - 0.5 * b_tilde.norm() ** 2


# ---------------------------------------------------------------- books and manners


class ForgetsTheStart(Honest):
    """Does not count the product that a warm start takes."""

    caught_by, says = "test_counts_its_products", "products = 1 at state 0"

    def start(self, system: System, b: Vector, x0: Vector | None) -> tuple[Vector, Vector, float]:
        return (*super().start(system, b, x0)[:2], 0)


class StartsAtOne(Honest):
    """Numbers its states as people count."""

    caught_by, says = "test_counts_its_products", "k = 1"
    first = 1


class OneVector(Honest):
    """Yields one vector again and again, updated in place."""

    caught_by, says = "test_states_are_snapshots", "the x of a state never changes"

    def start(self, system: System, b: Vector, x0: Vector | None) -> tuple[Vector, Vector, float]:
        return super().start(system, b, None if x0 is None else x0.clone())

    def moved(self, x: Vector, p: Vector, alpha: float) -> Vector:
        return x.add_(p, alpha)


class ChangesTheGradient(Honest):
    """Negates the gradient where it lies."""

    caught_by, says = "test_states_are_snapshots", "the system's gradient"

    def start(self, system: System, b: Vector, x0: Vector | None) -> tuple[Vector, Vector, float]:
        system.gradient.mul_(-1.0)
        return super().start(system, b, x0)
