"""Preconditioners with one mistake each that a person could make, and the check of the contract that must tell.

`caught_by` names the check, `says` what its message must speak of.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Generator, Tensor, nn

from hfbench.curvature.linearisation import Linearisation
from hfbench.errors import ConfigError
from hfbench.linalg.vector import Shift, Vector
from hfbench.parts.protocols import BuiltPreconditioner
from hfbench.testing.contract import flat
from hfbench.testing.problems import shaped


class Scaled:
    """M = diag(m), unchecked."""

    def __init__(self, m: Vector) -> None:
        self.m = m

    def solve(self, v: Vector) -> Vector:
        return Vector(a / b for a, b in zip(v, self.m, strict=True))

    def solve_factor(self, v: Vector) -> Vector:
        return Vector(a / b.sqrt() for a, b in zip(v, self.m, strict=True))

    def solve_factor_t(self, v: Vector) -> Vector:
        return self.solve_factor(v)


class HonestDiagonal:
    """M = mean_i g_i∘g_i + mu D + lambda, right in all that a subclass does not replace."""

    cases = "gradient"

    def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> BuiltPreconditioner:
        return Scaled(self.shifted(self.diagonal(linearisation, generator), shift))

    def diagonal(self, linearisation: Linearisation, generator: Generator) -> Vector:
        return linearisation.squared_sums(linearisation.residual).mul_(1 / linearisation.n)

    def shifted(self, d: Vector, shift: Shift) -> Vector:
        return d.shift_(shift)


class Triangles:
    """M = L Lᵀ, with L as dense matrix."""

    def __init__(self, A: Tensor) -> None:
        self.A, self.L = A, torch.linalg.cholesky(A)

    def applied(self, T: Tensor, v: Vector, upper: bool) -> Vector:
        solved = torch.linalg.solve_triangular(T, flat(v)[:, None], upper=upper)[:, 0]
        return shaped(solved.to(v[0].dtype), v)

    def solve_factor(self, v: Vector) -> Vector:
        return self.applied(self.L, v, upper=False)

    def solve_factor_t(self, v: Vector) -> Vector:
        return self.applied(self.L.T, v, upper=True)

    def solve(self, v: Vector) -> Vector:
        return self.solve_factor_t(self.solve_factor(v))


class HonestExact:
    """M = G + mu D + lambda I itself, by Cholesky; far from diagonal, so that E and Eᵀ differ."""

    cases = "curvature"
    factor: type[Triangles] = Triangles

    def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> BuiltPreconditioner:
        like = linearisation.parameters
        units = torch.eye(like.numel(), dtype=torch.float64)
        columns = []
        for unit in units:
            v = shaped(unit.to(like[0].dtype), like)
            Av = linearisation.gauss_newton(v) + v * (list(shift) if isinstance(shift, tuple) else shift)
            columns.append(flat(Av))
        A = torch.stack(columns, dim=1)
        return self.factor((A + A.T) / 2)


class HonestBlocks(HonestExact):
    """The blocks of G + mu D + lambda I on its diagonal, one per parameter: not diagonal, nor dense."""

    def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> BuiltPreconditioner:
        A = super().build(linearisation, shift, generator).A
        blocks = torch.block_diag(*(torch.ones(b.numel(), b.numel()) for b in linearisation.blocks))
        return Triangles(A * blocks)


class Average:
    """Half of the diagonal before and half of the new one."""

    def __init__(self, shapes: list[torch.Size] | None = None) -> None:
        self.kept, self.shapes = None, shapes

    def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> BuiltPreconditioner:
        new = HonestDiagonal().diagonal(linearisation, generator)
        self.kept = new if self.kept is None else (self.kept + new) * 0.5
        return Scaled(self.kept.clone().shift_(shift))

    def state_dict(self) -> dict[str, object]:
        return {} if self.kept is None else {"kept": list(self.kept)}

    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        self.check(state)
        self.kept = Vector(state["kept"]) if state else None

    def check(self, state: dict[str, list[Tensor]]) -> None:
        if state and set(state) != {"kept"}:
            raise ConfigError(f"the state must have kept, but has {', '.join(state)}.")
        if state and self.shapes and [block.shape for block in state["kept"]] != self.shapes:
            raise ConfigError(f"the state must have tensors of shapes {self.shapes}.")


class HonestAverage(HonestDiagonal):
    """Averages over steps; right in all that a subclass does not replace."""

    average: type[Average] = Average

    def begin(self, model: nn.Module) -> Average:
        return self.average([p.shape for p in model.parameters()])

    def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> BuiltPreconditioner:
        return self.average().build(linearisation, shift, generator)


# ---------------------------------------------------------------- what it builds


class GivesTheDiagonal(HonestDiagonal):
    """Builds the vector of M's entries, and nothing to apply it by."""

    caught_by, says = "test_builds_a_factor", "a Vector of blocks of shapes (4, 5) (4,)"

    def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> BuiltPreconditioner:
        return self.shifted(self.diagonal(linearisation, generator), shift)


class SolveAlone(HonestDiagonal):
    """Can be applied whole, and not by its factors."""

    caught_by, says = "test_builds_a_factor", "solve_factor is missing and solve_factor_t is missing"

    def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> BuiltPreconditioner:
        return SimpleNamespace(solve=super().build(linearisation, shift, generator).solve)


class GivesAList(HonestDiagonal):
    """Gives out a list of blocks."""

    caught_by, says = "test_builds_a_factor", "a list of length 4"

    def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> BuiltPreconditioner:
        class Listing(Scaled):
            def solve_factor(self, v: Vector) -> Vector:
                return list(super().solve_factor(v))

        return Listing(self.shifted(self.diagonal(linearisation, generator), shift))


# ---------------------------------------------------------------- the matrix


class OneSweep(HonestExact):
    """One sweep of Gauss-Seidel, and not the one back: lower triangular."""

    caught_by, says = "test_is_symmetric_and_positive", "differs from its transpose"

    class factor(Triangles):
        def solve(self, v: Vector) -> Vector:
            return self.applied(self.A.tril(), v, upper=False)


class Hutchinson(HonestDiagonal):
    """Estimates diag(G) by v∘Gv for one v of random signs, which may come out negative."""

    caught_by, says = "test_is_symmetric_and_positive", "an eigenvalue -"
    cases = "curvature"

    def diagonal(self, linearisation: Linearisation, generator: Generator) -> Vector:
        like = linearisation.blocks
        signs = (torch.randint(0, 2, (like.numel(),), generator=generator) * 2 - 1).to(like[0].dtype)
        v = linearisation.layout.pack(shaped(signs, like))
        return linearisation.gauss_newton(v) * v


class Rescales(HonestDiagonal):
    """Gives M⁻¹v the length of v."""

    caught_by, says = "test_is_linear", "a linear map"

    def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> BuiltPreconditioner:
        class Rescaled(Scaled):
            def solve(self, v: Vector) -> Vector:
                solved = super().solve(v)
                return solved * (v.norm() / solved.norm())

        return Rescaled(super().build(linearisation, shift, generator).m)


class DrawsWithinTheSolve(HonestDiagonal):
    """Draws its probes whenever it is applied: another M at every iteration."""

    caught_by, says = "test_is_linear", "the same whenever it is applied"

    def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> BuiltPreconditioner:
        class Drawing(Scaled):
            def solve(self, v: Vector) -> Vector:
                noise = 1 + 0.1 * torch.rand((), generator=generator, dtype=v[0].dtype)
                return super().solve(v) * float(noise)

        return Drawing(super().build(linearisation, shift, generator).m)


class ForgetsTheTranspose(HonestExact):
    """E⁻¹ where E⁻ᵀ belongs."""

    caught_by, says = "test_its_factors_make_its_inverse", "E⁻ᵀ"

    class factor(Triangles):
        def solve_factor_t(self, v: Vector) -> Vector:
            return self.solve_factor(v)

        def solve(self, v: Vector) -> Vector:
            return super().solve_factor_t(self.solve_factor(v))


class MixesUpTheTransposes(HonestExact):
    """E⁻¹ and E⁻ᵀ in each other's place, and M⁻¹ from LAPACK, as it should be."""

    caught_by, says = "test_its_factors_make_its_inverse", "E⁻ᵀE⁻¹v = M⁻¹v"

    class factor(Triangles):
        def solve_factor(self, v: Vector) -> Vector:
            return super().solve_factor_t(v)

        def solve_factor_t(self, v: Vector) -> Vector:
            return super().solve_factor(v)

        def solve(self, v: Vector) -> Vector:
            return shaped(torch.cholesky_solve(flat(v)[:, None], self.L)[:, 0].to(v[0].dtype), v)


class ForgetsTheRoot(HonestDiagonal):
    """E⁻¹ = M⁻¹."""

    caught_by, says = "test_its_factors_make_its_inverse", "E⁻ᵀE⁻¹v = M⁻¹v"

    def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> BuiltPreconditioner:
        class Rootless(Scaled):
            def solve_factor(self, v: Vector) -> Vector:
                return self.solve(v)

        return Rootless(super().build(linearisation, shift, generator).m)


class IgnoresDamping(HonestDiagonal):
    """Adds a small constant in place of mu D + lambda."""

    caught_by, says = "test_follows_the_damping", "lambda goes from"

    def shifted(self, d: Vector, shift: Shift) -> Vector:
        return d.shift_([1e-3] * len(d))


class FallsWithDamping(HonestDiagonal):
    """Adds the reciprocal of what is to be added."""

    caught_by, says = "test_follows_the_damping", "lambda goes from"

    def shifted(self, d: Vector, shift: Shift) -> Vector:
        return d.shift_([1 / one for one in shift])


class AsksForANumber(HonestDiagonal):
    """Says that it may be replayed, and scales by a norm that the host reads, there and back."""

    caught_by, says = "test_is_replayable_if_it_says_so", "without asking for a number"

    def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> BuiltPreconditioner:
        class Asking(Scaled):
            replayable = True

            def solve(self, v: Vector) -> Vector:
                norm = v.norm() or 1.0
                return super().solve(v * (1 / norm)) * norm

        return Asking(super().build(linearisation, shift, generator).m)


class TakesTurns(HonestDiagonal):
    """Says that it may be replayed, and does every second solve in another way."""

    caught_by, says = "test_is_replayable_if_it_says_so", "by the same operations whatever the vector holds"

    def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> BuiltPreconditioner:
        class Turning(Scaled):
            replayable = True
            turn = 0

            def solve(self, v: Vector) -> Vector:
                self.turn += 1
                return (
                    super().solve(v) if self.turn % 2 else Vector(a * (1 / b) for a, b in zip(v, self.m, strict=True))
                )

        return Turning(super().build(linearisation, shift, generator).m)


class HasTwoMemories(HonestDiagonal):
    """Says that it may be replayed, and takes turns with two copies of its diagonal."""

    caught_by, says = "test_is_replayable_if_it_says_so", "on the same memory"

    def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> BuiltPreconditioner:
        class Turning(Scaled):
            replayable = True

            def solve(self, v: Vector) -> Vector:
                solved = super().solve(v)
                self.m, self.other = self.other, self.m
                return solved

        built = Turning(super().build(linearisation, shift, generator).m)
        built.other = built.m.clone()
        return built


class KeepsASum(HonestDiagonal):
    """Says that it may be replayed, and adds up what it was given."""

    caught_by, says = "test_is_replayable_if_it_says_so", "a tensor of shape () changed"

    def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> BuiltPreconditioner:
        class Adding(Scaled):
            replayable = True

            def solve(self, v: Vector) -> Vector:
                self.total.add_(v[0].sum())
                return super().solve(v)

        built = Adding(super().build(linearisation, shift, generator).m)
        built.total = torch.zeros((), dtype=built.m[0].dtype)
        return built


class CountsItsSolves(HonestDiagonal):
    """Says that it may be replayed, and counts its solves, of which a replay makes none."""

    caught_by, says = "test_is_replayable_if_it_says_so", "solves changed"

    def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> BuiltPreconditioner:
        class Counting(Scaled):
            replayable = True
            solves = 0

            def solve(self, v: Vector) -> Vector:
                self.solves += 1
                return super().solve(v)

        return Counting(super().build(linearisation, shift, generator).m)


# ---------------------------------------------------------------- the same whatever the surroundings


class GlobalGenerator(HonestDiagonal):
    """Chapelle and Erhan's probes, drawn from torch's own generator."""

    caught_by, says = "test_is_deterministic_for_a_generator", "torch's global generator"
    cases = "curvature"

    def diagonal(self, linearisation: Linearisation, generator: Generator) -> Vector:
        signs = torch.randint_like(linearisation.outputs, 2) * 2 - 1
        return linearisation.squared_sums(linearisation.loss_at.factor(signs)).mul_(1 / linearisation.n)


class OwnGenerator(HonestDiagonal):
    """Goes on drawing from a generator that all builds share."""

    caught_by, says = "test_is_deterministic_for_a_generator", "the same M, bit for bit"
    cases = "curvature"
    own = Generator().manual_seed(0)

    def diagonal(self, linearisation: Linearisation, generator: Generator) -> Vector:
        z = linearisation.outputs
        signs = (torch.rand(z.shape, generator=self.own, dtype=z.dtype) < 0.5) * 2.0 - 1
        return linearisation.squared_sums(linearisation.loss_at.factor(signs.to(z.dtype))).mul_(1 / linearisation.n)


class FirstChunk(HonestDiagonal):
    """Takes the first chunk for the batch."""

    caught_by, says = "test_does_not_depend_on_chunking_or_layout", "in chunks of 5"

    def diagonal(self, linearisation: Linearisation, generator: Generator) -> Vector:
        u = torch.zeros_like(linearisation.residual)
        u[linearisation.slices[0]] = linearisation.residual[linearisation.slices[0]]
        return linearisation.squared_sums(u).mul_(1 / len(u[linearisation.slices[0]]))


class OneNumberPerBlock(HonestDiagonal):
    """Averages over each block of the vector, which in the flat layout is all of it."""

    caught_by, says = "test_does_not_depend_on_chunking_or_layout", "layout flat"

    def diagonal(self, linearisation: Linearisation, generator: Generator) -> Vector:
        return Vector(torch.full_like(one, float(one.mean())) for one in super().diagonal(linearisation, generator))


class KnowsOneLayout(HonestDiagonal):
    """Takes the shift for numbers, which in the flat layout is a vector."""

    caught_by, says = "test_does_not_depend_on_chunking_or_layout", "no exception"

    def shifted(self, d: Vector, shift: Shift) -> Vector:
        return d.shift_([float(one) for one in shift])


class Float64(HonestDiagonal):
    """Computes in float64 and gives that out."""

    caught_by, says = "test_works_in_float32", "torch.float64"

    def diagonal(self, linearisation: Linearisation, generator: Generator) -> Vector:
        return Vector(one.double() for one in super().diagonal(linearisation, generator))


class Underflows(HonestDiagonal):
    """Divides by the geometric mean by way of the product of all entries."""

    caught_by, says = "test_works_in_float32", "vᵀM⁻¹v > 0 in float32"

    def shifted(self, d: Vector, shift: Shift) -> Vector:
        m = super().shifted(d, shift)
        product = torch.cat([block.reshape(-1) for block in m]).prod()
        return Vector(block / product ** (1 / m.numel()) for block in m)


# ---------------------------------------------------------------- from step to step


class HonestCount(HonestAverage):
    """Damps less from step to step: its state is a number, which fits every model."""

    class average(Average):
        def __init__(self, shapes: list[torch.Size] | None = None) -> None:
            self.steps = 0

        def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> BuiltPreconditioner:
            self.steps += 1
            return Scaled(Vector(torch.ones_like(b) / self.steps for b in linearisation.parameters).shift_(shift))

        def state_dict(self) -> dict[str, object]:
            return {"steps": self.steps}

        def load_state_dict(self, state: dict[str, int]) -> None:
            if state and set(state) != {"steps"}:
                raise ConfigError(f"the state must have steps, but has {', '.join(state)}.")
            self.steps = state.get("steps", 0)


class OneAverageForAll(HonestAverage):
    """Keeps its average on the part, where all runs meet."""

    caught_by, says = "test_every_run_begins_alike", "between the first step of a run and `build`"
    own = Average()

    def begin(self, model: nn.Module) -> Average:
        self.own.load_state_dict({})
        return self.own

    def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> BuiltPreconditioner:
        return self.own.build(linearisation, shift, generator)


class CountsRuns(HonestAverage):
    """Keeps one average for the process, and begins no run anew."""

    caught_by, says = "test_every_run_begins_alike", "at step 1"
    own = Average()

    def begin(self, model: nn.Module) -> Average:
        return self.own


class SavesNothing(HonestAverage):
    """Forgets its average when it is saved."""

    caught_by, says = "test_goes_on_from_a_saved_state", "at step 1 after it"

    class average(Average):
        def state_dict(self) -> dict[str, object]:
            return {}


class SavesItself(HonestAverage):
    """Gives out an object of its own for its state."""

    caught_by, says = "test_goes_on_from_a_saved_state", "cannot be read back"

    class average(Average):
        def state_dict(self) -> dict[str, object]:
            return {"kept": Scaled(self.kept)}


class BeginsWithoutState(HonestAverage):
    """Begins what can build, and be neither saved nor loaded."""

    caught_by, says = "test_goes_on_from_a_saved_state", "state_dict is missing and load_state_dict is missing"

    def begin(self, model: nn.Module) -> HonestDiagonal:
        return HonestDiagonal()


class AveragesInPlace(HonestAverage):
    """Writes the new average over the old one, which was given out."""

    caught_by, says = "test_leaves_a_saved_state_alone", "changed in place"

    class average(Average):
        def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> BuiltPreconditioner:
            new = HonestDiagonal().diagonal(linearisation, generator)
            self.kept = new if self.kept is None else self.kept.add_(new).mul_(0.5)
            return Scaled(self.kept.clone().shift_(shift))


class KnowsNoEmptyState(HonestAverage):
    """Reads the entry that its own states always have."""

    caught_by, says = "test_begins_again_from_an_empty_state", "KeyError: 'kept'"

    class average(Average):
        def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
            self.kept = Vector(state["kept"])


class GoesOnFromNothing(HonestAverage):
    """Takes an empty state for no news."""

    caught_by, says = "test_begins_again_from_an_empty_state", "at step 1 after it"

    class average(Average):
        def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
            if state:
                super().load_state_dict(state)


class TakesAnyState(HonestAverage):
    """Takes another's state for an empty one."""

    caught_by, says = "test_refuses_a_foreign_state", "no exception"

    class average(Average):
        def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
            self.kept = Vector(state["kept"]) if "kept" in state else None


class TakesMoreThanItsOwn(HonestAverage):
    """Looks for its own entry and not at the others."""

    caught_by, says = "test_refuses_a_foreign_state", "besides its own"

    class average(Average):
        def check(self, state: dict[str, list[Tensor]]) -> None:
            super().check({name: value for name, value in state.items() if name == "kept"} or state)


class TakesAnyShape(HonestAverage):
    """Knows no model, and keeps tensors of one."""

    caught_by, says = "test_refuses_a_state_of_another_model", "a state of a model 5 × 6 × 3 but no exception"

    def begin(self, model: nn.Module) -> Average:
        return Average()


class SavesItsVersion(HonestAverage):
    """Keeps nothing, and saves that."""

    caught_by, says = "test_saves_nothing_if_it_has_no_state", "version"

    class average(Average):
        def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> BuiltPreconditioner:
            return HonestDiagonal().build(linearisation, shift, generator)

        def state_dict(self) -> dict[str, object]:
            return {"version": 1}

        def load_state_dict(self, state: dict[str, object]) -> None:
            if state and set(state) != {"version"}:
                raise ConfigError("version: must be there.")


class DrawsLater(HonestAverage):
    """Takes a random share of the old average, from the second step on."""

    caught_by, says = "test_every_run_begins_alike", "torch's global generator"

    class average(Average):
        def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> BuiltPreconditioner:
            if self.kept is not None:
                self.kept = self.kept * float(torch.rand(()))
            return super().build(linearisation, shift, generator)


class FailsAtAForeignState(HonestAverage):
    """Refuses another's state by a KeyError."""

    caught_by, says = "test_refuses_a_foreign_state", "KeyError: 'kept'"

    class average(Average):
        def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
            self.kept = Vector(state["kept"]) if state else None


class LoadsHalf(HonestAverage):
    """Loads what it finds before it refuses the rest."""

    caught_by, says = "test_refuses_a_foreign_state", "the state before one that was refused"

    class average(Average):
        steps = 0

        def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> BuiltPreconditioner:
            self.steps += 1
            return super().build(linearisation, shift, generator)

        def state_dict(self) -> dict[str, object]:
            return {"steps": self.steps, **super().state_dict()}

        def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
            self.steps = state.get("steps", 0)
            super().load_state_dict({name: held for name, held in state.items() if name != "steps"})
            if state and "steps" not in state:
                raise ConfigError("the state must have steps.")


class WantsDenseLayers(HonestAverage):
    """Looks for the first layer's weights, without asking if there is one."""

    caught_by, says = "test_refuses_a_model_by_a_config_error", "TypeError"

    def begin(self, model: nn.Module) -> Average:
        self.units = len(model[0].weight)
        return super().begin(model)


# ---------------------------------------------------------------- books and manners


class CallsTheModel(HonestDiagonal):
    """Takes each case's gradient by a loop over the model, past the ledger."""

    caught_by, says = "test_counts_its_cost", "work in the ledger"

    def diagonal(self, linearisation: Linearisation, generator: Generator) -> Vector:
        at, total = linearisation, linearisation.blocks.zeros_like()
        for x, r in zip(at.inputs, at.residual, strict=True):
            with torch.enable_grad():
                g = torch.autograd.grad(at.model(x[None]), list(at.model.parameters()), r[None])
            total.add_([one * one for one in g])
        return at.layout.pack(total.mul_(1 / at.n))


class ChargesTooMuch(HonestDiagonal):
    """Counts by itself what the linearisation has counted already."""

    caught_by, says = "test_counts_its_cost", "work in the ledger"

    def diagonal(self, linearisation: Linearisation, generator: Generator) -> Vector:
        linearisation.ledger.count("squares", 2 * linearisation.n)
        return super().diagonal(linearisation, generator)


class ChangesTheVector(HonestDiagonal):
    """Scales v itself."""

    caught_by, says = "test_leaves_its_arguments_alone", "the vector changed in place"

    def build(self, linearisation: Linearisation, shift: Shift, generator: Generator) -> BuiltPreconditioner:
        class InPlace(Scaled):
            def solve(self, v: Vector) -> Vector:
                return v.mul_(Vector(1 / block for block in self.m))

        return InPlace(super().build(linearisation, shift, generator).m)


class ChangesTheShift(HonestDiagonal):
    """Adds the diagonal to the shift, where that is a vector."""

    caught_by, says = "test_leaves_its_arguments_alone", "the shift changed in place"

    def shifted(self, d: Vector, shift: Shift) -> Vector:
        return shift.add_(d) if isinstance(shift, Vector) else d.shift_(shift)


class ChangesTheResidual(HonestDiagonal):
    """Scales the residual that the linearisation keeps."""

    caught_by, says = "test_leaves_its_arguments_alone", "the linearisation's residual changed in place"

    def diagonal(self, linearisation: Linearisation, generator: Generator) -> Vector:
        return linearisation.squared_sums(linearisation.residual.div_(linearisation.n**0.5))


class SaysItIsTrivial(HonestDiagonal):
    """Would go with a solver that takes no preconditioner."""

    caught_by, says = "test_says_whether_it_does_nothing", "an M that is not I"
    trivial = True


class HonestNothing(HonestDiagonal):
    """No preconditioning, and says so."""

    trivial = True

    def shifted(self, d: Vector, shift: Shift) -> Vector:
        return Vector(torch.ones_like(block) for block in d)


class HidesThatItIsTrivial(HonestNothing):
    """Does nothing, and does not say so."""

    caught_by, says = "test_says_whether_it_does_nothing", "trivial = False"
    trivial = False


class SaysNoCases(HonestDiagonal):
    """Does not say on which batch it is to be built."""

    caught_by, says = "test_says_which_cases_it_is_built_on", "`cases: ClassVar[str]`"
    cases = None
