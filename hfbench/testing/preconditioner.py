"""Contract of preconditioners: what they build, the same in every run, saved and resumed, its cost counted."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hfbench.errors import ConfigError
from hfbench.inner_solve.preconditioning import begin_preconditioning
from hfbench.linalg.layout import LAYOUTS
from hfbench.linalg.vector import Vector
from hfbench.messages import quoted
from hfbench.parts.protocols import Preconditioner, PreconditionerState
from hfbench.testing.built_preconditioner import APPLIED, BuiltContract
from hfbench.testing.contract import (
    ContractBroken,
    flat,
    global_random_state_kept,
    largest_difference,
    require,
    seeded_generator,
)
from hfbench.testing.kinds import METHOD, require_fields
from hfbench.testing.problems import CASES, LEAST, SLACK, Problem, random_vector

FOREIGN = "an entry of another preconditioner"
OTHER_SIZES = ((5, 6, 3), (5, 4, 4, 3))  # of models, beside that of the problems
STEPS = 5


class PreconditionerContract(BuiltContract):
    """Contract of a preconditioner (hfbench/parts/protocols.py): what it builds, its runs, its books and manners."""

    # ------------------------------------------------------------ from step to step

    def test_every_run_begins_alike(self) -> None:
        """Two runs from `begin` have the same steps, the first as by `build`; without `begin` all are as by `build`."""
        with global_random_state_kept("two runs draw from it in turn, and a run that is resumed draws others"):
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
        self._same_steps(resumed, going, range(2, 5), "after a state was saved and loaded", why)

    def test_begins_again_from_an_empty_state(self) -> None:
        run = self._begun()
        self._steps(run, range(2))
        run.load_state_dict({})
        why = "an optimiser that has saved no state of it loads an empty one, as `hfbench probe` does"
        self._same_steps(run, self._begun(), range(3), "after `load_state_dict({})` as from the start", why)

    def test_refuses_a_foreign_state(self) -> None:
        """Another's state is a ConfigError; whatever is refused, a part of its own state too, leaves all as it was."""
        run, other = self._begun(), self._begun()
        self._steps(run, range(2))
        self._steps(other, range(2))
        state = copy.deepcopy(run.state_dict())
        why = "the state of another method would be taken for its own, or a step be undone by half"
        for own in ({}, state):
            besides = " besides its own" * bool(own)
            foreign = {**own, FOREIGN: 1.0}
            require(
                _refuses(run, foreign),
                f"a ConfigError for a state with {quoted(FOREIGN)}{besides}",
                "no exception",
                why,
            )
            self._keeps(run, state, why)
        for lost in state:
            if _refuses(run, {name: state[name] for name in state if name != lost}):
                self._keeps(run, state, why)
            else:
                run.load_state_dict(copy.deepcopy(state))
        self._same_steps(run, other, range(2, 4), "after a state that was refused as without", why)

    def test_refuses_a_state_of_another_model(self) -> None:
        """One with tensors of other shapes, or other entries, than its own; a state that knows no model fits all."""
        why = "a later build would fail in the middle of a run, or take one layer's numbers for another's"
        for sizes in OTHER_SIZES:
            other = Problem(sizes=sizes)
            run, foreign = self._begun(), self._begun(other.model)
            self._steps(run, range(2))
            self._steps(foreign, range(2), other)
            state, its = copy.deepcopy(run.state_dict()), foreign.state_dict()
            if _form(its) == _form(state):
                continue
            layers = " × ".join(map(str, sizes))
            require(_refuses(run, its), f"a ConfigError for a state of a model {layers}", "no exception", why)
            self._keeps(run, state, why)

    def test_saves_nothing_if_it_has_no_state(self) -> None:
        run = self._begun()
        states = [copy.deepcopy(run.state_dict())]
        for k in range(STEPS):
            self._solved(run, k)
            states.append(copy.deepcopy(run.state_dict()))
        changes = not all(_same(state, states[0]) for state in states)
        require(
            changes or not states[0],
            f"an empty state where no step changes it ({STEPS} were taken)",
            f"one with {', '.join(map(str, states[0]))}",
            "checkpoints would refuse each other for entries that mean nothing",
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

    def test_refuses_a_model_by_a_config_error(self) -> None:
        """`begin` takes a model that is no chain of dense layers, or raises ConfigError."""
        for words, model in _odd_models().items():
            try:
                self._begun(model)
            except ConfigError:
                continue
            except Exception as error:
                raise ContractBroken(
                    f"`begin` to take {words}, or to raise a ConfigError",
                    f"{type(error).__name__}: {error}",
                    "a ConfigError says what the model needs before the run begins; another exception says nothing",
                ) from error

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

    def test_says_which_cases_it_is_built_on(self) -> None:
        cases = getattr(self.preconditioner(), "cases", None)
        require(
            cases in ("gradient", "curvature"),
            '`cases: ClassVar[str]`, "gradient" or "curvature"',
            repr(cases),
            "gradient and curvature may be taken on other cases; the optimiser hands over one linearisation",
        )

    def test_says_whether_it_does_nothing(self) -> None:
        declared = bool(getattr(self.preconditioner(), "trivial", False))
        inverses = [self._inverse(problem) for problem in self._problems()]
        found = all(torch.equal(inverse, torch.eye(len(inverse), dtype=inverse.dtype)) for inverse in inverses)
        require(
            declared == found,
            "`trivial: ClassVar[bool] = True` where M = I, and only there",
            f"trivial = {declared}, and an M that is {'' if found else 'not '}I",
            "a solver that takes no preconditioner takes a trivial one, and no other",
        )

    # ------------------------------------------------------------ helpers

    def _begun(self, model: nn.Module | None = None) -> PreconditionerState:
        run = begin_preconditioning(self.preconditioner(), Problem().model if model is None else model)
        needed = dict.fromkeys(("build", "state_dict", "load_state_dict"), METHOD)
        require_fields("what `begin` returns", run, needed, "the optimiser builds M with it, saves it and loads it")
        return run

    def _keeps(self, run: PreconditionerState, state: Mapping[str, Any], why: str) -> None:
        require(_same(run.state_dict(), state), "the state before one that was refused", "another", why)

    def _steps(self, run: PreconditionerState, steps: Iterable[int], problem: Problem | None = None) -> list[Tensor]:
        """M⁻¹v at each step of a run."""
        return [self._solved(run, k, problem) for k in steps]

    def _same_steps(
        self, run: PreconditionerState, other: PreconditionerState, steps: range, when: str, why: str
    ) -> None:
        for k, (step, wanted) in enumerate(zip(self._steps(run, steps), self._steps(other, steps), strict=True)):
            require(
                torch.equal(step, wanted),
                f"the same M, bit for bit, at every step {when}",
                f"a difference of {largest_difference(step, wanted):.1e} at step {k + 1} after it",
                why,
            )

    def _solved(self, run: Preconditioner | PreconditionerState, k: int, problem: Problem | None = None) -> Tensor:
        """M⁻¹v at step k, with separate cases, damping and random numbers."""
        problem = replace(problem or Problem(), damping=0.3 / (k + 1))
        at = problem.linearisation(2 + k)
        shift = at.layout.spread([mu + problem.damping for mu in problem.mu_D])
        v = problem.vector(random_vector(len(problem.solution)))
        return flat(self._applied(self._checked(run.build(at, shift, seeded_generator(k))), "solve", v))


def _odd_models() -> dict[str, nn.Module]:
    """Models that are no chains of dense layers, in words."""

    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(5))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight

    with torch.random.fork_rng(devices=[]):
        return {
            "a model with a parameter of its own": Scale(),
            "a convolutional model": nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(6, 2)),
            "a recurrent layer": nn.GRU(3, 2),
            "an embedding": nn.Sequential(nn.Embedding(7, 2), nn.Flatten()),
            "a model with nothing to train": nn.Tanh(),
        }


def _refuses(run: PreconditionerState, state: Mapping[str, Any]) -> bool:
    """True if loading the state raises ConfigError, False if it is taken."""
    try:
        run.load_state_dict(copy.deepcopy(dict(state)))
    except ConfigError:
        return True
    return False


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


def _form(state: Any) -> Any:
    """What a state looks like without its numbers: names of entries, and shapes of tensors."""
    if isinstance(state, Tensor):
        return tuple(state.shape)
    if isinstance(state, Mapping):
        return {name: _form(value) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return [_form(value) for value in state]
    return type(state)


def _same(a: Any, b: Any) -> bool:
    """True if two states are equal, bit for bit."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, Mapping):
        return isinstance(b, Mapping) and list(a) == list(b) and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)
