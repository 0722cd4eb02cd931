"""Contract of baselines: they lower the objective that hfbench measures, count their work, and can be resumed."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import torch
from torch import nn

from hfbench.curvature.loss import LOSSES
from hfbench.curvature.objective import objective
from hfbench.curvature.work_ledger import Ledger
from hfbench.errors import ConfigError
from hfbench.parts.protocols import STEP_EVIDENCE, Baseline, Horizon, Optimizer, SupportsHorizon, SupportsPrepare
from hfbench.testing.contract import Contract, flat, global_random_state_kept, require, seeded_generator
from hfbench.testing.kinds import METHOD, Kind, answer_in_words, is_number, require_fields, require_kind
from hfbench.testing.problems import CASES, LEAST, SLACK, Problem, work
from hfbench.testing.step_reference import HeldWeights, StepReference

STEPS = 10
OPTIMIZER = {
    **dict.fromkeys(("step", "state_dict", "load_state_dict"), METHOD),
    "ledger": Kind("a Ledger (hfbench.curvature.work_ledger)", lambda value: isinstance(value, Ledger)),
    "mu_D": Kind(
        "a tuple of numbers, one per parameter",
        lambda value: isinstance(value, (tuple, list)) and all(is_number(mu) for mu in value),
    ),
}
TABLE = Kind("a dictionary", lambda value: isinstance(value, dict))
TOLERANCE, TINY = 1e-3, 1e-5  # of values in float32, relative and absolute
OF_BFLOAT16 = 2.0**-6  # of values from passes in bfloat16, relative
OF_GRADIENT = ", the nearest of the norms of ∇f at weights that the model had in the step"
MANY = 200  # cases, beside which algebra on the weights alone is small


class OptimizerContract(Contract):
    """Contract of a baseline (hfbench/parts/protocols.py, `Baseline` and `Optimizer`)."""

    def baseline(self) -> Baseline:
        baseline: Baseline = self.built()
        return baseline

    def test_begins_an_optimizer(self) -> None:
        """`begin`, `step` and `state_dict` return values of the right type."""
        problem, _, optimizer = self._begun("logistic")
        self._row(problem, optimizer)
        why = "checkpoints keep it, and resumed runs go on with it"
        require_kind("what `state_dict` returns", optimizer.state_dict(), TABLE, why)

    def test_lowers_the_objective(self) -> None:
        for loss in LOSSES:
            problem, model, optimizer = self._begun(loss)
            before = self._objective(problem, model)
            self._train(problem, optimizer, STEPS)
            after = self._objective(problem, model)
            require(
                after < before,
                f"an objective below {before:.6g}, weight decay included, after {STEPS} steps ({problem})",
                f"{after:.6g}",
                "a baseline that does not train makes everything else look good",
            )

    def test_takes_the_weight_decay(self) -> None:
        why = "all methods minimise one objective, weight decay included"
        problem, _, optimizer = self._begun("logistic")
        require(
            tuple(optimizer.mu_D) == problem.mu_D,
            f"mu_D = {problem.mu_D}, as handed over",
            f"{optimizer.mu_D}",
            why,
        )
        start, without, strongly = (self._weights_after(*run) for run in ((0, 0.0), (STEPS, 0.0), (STEPS, 10.0)))
        require(
            float((strongly - without).norm()) > 1e-3 * float((without - start).norm()),
            "other weights where mu_D is large than where it is zero",
            f"the same after {STEPS} steps: mu_D is kept, but not minimised",
            why,
        )

    def test_counts_its_work(self) -> None:
        problem, _, optimizer = self._begun("logistic", cases=MANY)
        if isinstance(optimizer, SupportsPrepare):  # as a run does, uncounted
            optimizer.prepare(*problem.cases(2), None, ())
        units = work(problem, optimizer.ledger, lambda: self._train(problem, optimizer, 1))
        done, told = (unit / MANY for unit in units)
        require(
            LEAST * told <= done <= SLACK * told,
            f"work in the ledger like the {done:.2f} forward passes that the matrix products of a step amount to "
            "(a pass forward and back counts 3)",
            f"{told:.2f}",
            "work is the axis on which methods are compared",
        )

    def test_tells_of_its_step(self) -> None:
        problem, _, optimizer = self._begun("logistic")
        row = self._row(problem, optimizer)
        missing = [name for name in ("gradient_norm", "objective_after") if name not in row]
        require(
            not missing,
            "a row with gradient_norm and objective_after (which may be None)",
            f"one without {' and '.join(missing)}",
            "schedulers and traces read them",
        )
        odd = [
            name for name, value in row.items() if not (value is None or isinstance(value, bool | int | float | str))
        ]
        odd += ["gradient_norm"] * (row["gradient_norm"] is None)
        require(
            not odd,
            "a row of plain values (numbers, text, None), with a number for gradient_norm",
            ", ".join(f"{name} is {answer_in_words(row[name])}" for name in odd),
            "a trace is a table of numbers, and a scheduler computes with the norm",
        )
        for name in STEP_EVIDENCE:
            try:
                row = self._row(problem, optimizer, evidence=(name,))
            except ConfigError:
                continue
            require(
                is_number(row.get(name)),
                f"{name}, a number, in the row of a step that is asked for it, or a ConfigError",
                "neither",
                "a scheduler that needs it would be handed None",
            )

    def test_reports_true_values(self) -> None:
        """What a row says of objective, gradient, step and evidence is so, as computed independently in float64."""
        for loss in LOSSES:
            problem, model, optimizer = self._begun(loss)
            for evidence in ((), (), *((name,) for name in STEP_EVIDENCE)):
                try:
                    self._step_is_true(problem, model, optimizer, evidence)
                except ConfigError:
                    if not evidence:
                        raise

    def test_leaves_its_batch_alone(self) -> None:
        """Neither a step nor `prepare` changes the tensors that they are given."""
        problem, _, optimizer = self._begun("logistic")
        batch = {
            **dict(zip(("the inputs", "the targets"), problem.cases(2), strict=True)),
            **dict(zip(("the curvature's inputs", "the curvature's targets"), problem.cases(3), strict=True)),
        }
        before = {name: tensor.clone() for name, tensor in batch.items()}
        inputs, targets, *curvature = batch.values()
        if isinstance(optimizer, SupportsPrepare):
            optimizer.prepare(inputs, targets, (curvature[0], curvature[1]), ())
        optimizer.step(inputs, targets, (curvature[0], curvature[1]), ())
        optimizer.step(inputs, targets)
        changed = [name for name, tensor in batch.items() if not torch.equal(tensor, before[name])]
        require(
            not changed,
            "the tensors of a batch as they were",
            f"{' and '.join(changed)} changed in place",
            "they are cases of the training set, which all later steps and the evaluation use",
        )

    def test_takes_other_cases_for_the_curvature(self) -> None:
        """A step takes batches of any size, and curvature cases that are not the gradient's."""
        problem, _, optimizer = self._begun("logistic")
        inputs, targets = problem.cases(3)
        for few in (len(inputs), len(inputs) // 2):
            optimizer.step(*problem.cases(2), (inputs[:few], targets[:few]), ())
            optimizer.step(inputs[:few], targets[:few], None, ())

    def test_prepares_without_a_step(self) -> None:
        """`prepare`, if there is one, changes neither weights nor the steps that follow."""
        problem, model, optimizer = self._begun("logistic")
        if not isinstance(optimizer, SupportsPrepare):
            return
        before = flat(list(model.parameters()))
        optimizer.prepare(*problem.cases(2), None, ())
        moved = not torch.equal(flat(list(model.parameters())), before)
        self._train(problem, optimizer, STEPS)
        require(
            not moved and torch.equal(flat(list(model.parameters())), self._weights_after(STEPS)),
            "`prepare` to leave the weights alone, and the steps after it as they are without",
            "other weights" + " at once" * moved,
            "what it does is neither timed nor counted",
        )

    def test_is_deterministic(self) -> None:
        why = "runs are paired by their named random streams"
        with global_random_state_kept(why):
            once, again = (self._weights_after(STEPS) for _ in range(2))
        require(torch.equal(once, again), "the same weights, bit for bit, from the same start", "others", why)

    def test_resumes_where_it_stopped(self) -> None:
        problem, model, optimizer = self._begun("logistic")
        self._train(problem, optimizer, STEPS // 2)
        saved, weights = _through_a_checkpoint(optimizer.state_dict()), copy.deepcopy(model.state_dict())
        problem, other, resumed = self._begun("logistic")
        other.load_state_dict(weights)
        resumed.load_state_dict(saved)
        self._train(problem, resumed, STEPS - STEPS // 2)
        same = torch.equal(flat(list(other.parameters())), self._weights_after(STEPS))
        require(
            same,
            "interrupted and resumed to equal uninterrupted, bit for bit",
            "other weights: something it remembers is not in state_dict",
            "long studies are interrupted",
        )

    # ------------------------------------------------------------ helpers

    def _begun(self, loss: str, decay: float = 0.01, cases: int = CASES) -> tuple[Problem, nn.Module, Optimizer]:
        problem = Problem(loss, decay=decay, dtype=torch.float32, number=cases)
        model = copy.deepcopy(problem.model)
        optimizer = self.baseline().begin(model, loss, problem.mu_D)
        why = "a run steps with it, charges its work, and saves its state"
        require_fields("what `begin` returns", optimizer, OPTIMIZER, why)
        if isinstance(optimizer, SupportsHorizon):
            optimizer.expect(Horizon({"iterations": 2 * STEPS}, cases), seeded_generator())
        return problem, model, optimizer

    def _row(self, problem: Problem, optimizer: Optimizer, **options: Any) -> dict[str, Any]:
        """The row of one step."""
        record, why = optimizer.step(*problem.cases(2), **options), "it is a line of the run's trace"
        require_fields("what `step` returns", record, {"to_row": METHOD}, why)
        row = record.to_row()
        require_kind("what `to_row` returns", row, TABLE, why)
        return row

    def _step_is_true(
        self, problem: Problem, model: nn.Module, optimizer: Optimizer, evidence: tuple[str, ...]
    ) -> None:
        """Takes a step and compares its row with values in float64."""
        inputs, targets = problem.cases(2)
        reference, before = StepReference(problem, inputs, targets), flat(list(model.parameters()))
        with HeldWeights(model, inputs) as held:
            row = self._row(problem, optimizer, evidence=evidence)
        after = flat(list(model.parameters()))
        true = {
            "objective_before": [reference.objective(before)],
            "objective_after": [reference.objective(after)],
            "step_norm": [float((after - before).norm())],
            "gradient_norm": reference.gradient_norms(held, before, after),
            **{name: [value] for name, value in reference.evidence(before).items()},
        }
        for name, values in true.items():
            told = row.get(name)
            if is_number(told):
                nearest = min(values, key=lambda value: abs(value - told))
                tolerance = OF_BFLOAT16 if row.get("precision") == "bfloat16" else TOLERANCE
                require(
                    abs(told - nearest) <= tolerance * abs(nearest) + TINY,
                    f"{name} = {nearest:.6g} ({problem})" + OF_GRADIENT * (name == "gradient_norm"),
                    f"{told:.6g}",
                    "schedulers and traces read it, and judge by it",
                )

    def _train(self, problem: Problem, optimizer: Optimizer, steps: int) -> None:
        for _ in range(steps):
            optimizer.step(*problem.cases(2))

    def _weights_after(self, steps: int, decay: float = 0.01) -> torch.Tensor:
        problem, model, optimizer = self._begun("logistic", decay)
        self._train(problem, optimizer, steps)
        return flat(list(model.parameters()))

    def _objective(self, problem: Problem, model: nn.Module) -> float:
        return objective(model, problem.loss, *problem.cases(2), problem.mu_D)


def _through_a_checkpoint(state: dict[str, Any]) -> dict[str, Any]:
    """The state after saving and loading as runs do it, so that reading it cannot execute code."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    try:
        loaded: dict[str, Any] = torch.load(file, weights_only=True)
    except pickle.UnpicklingError as error:
        require(
            False,
            "`state_dict` of tensors, numbers, text, lists and dictionaries alone",
            str(error).partition("GLOBAL")[2].partition(" was")[0].strip() or "other objects",
            "other objects are not read back, and an interrupted run begins again",
        )
    return loaded
