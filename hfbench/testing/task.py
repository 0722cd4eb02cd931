"""Contract of tasks: data and model of the right form, the same for one seed, disjoint splits, checked files."""

from __future__ import annotations

import re
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor, nn

from hfbench.config.measures import LIMITS
from hfbench.curvature.checked_linearisation import linearize
from hfbench.curvature.loss import LOSSES
from hfbench.curvature.weight_decay import MASKS
from hfbench.errors import DataError
from hfbench.parts.data_files import DataFile, present, verify
from hfbench.parts.protocols import Split, Task, TaskData
from hfbench.testing.contract import (
    Contract,
    global_random_state_kept,
    global_seed,
    largest_difference,
    not_applicable,
    require,
    seeded_generator,
)
from hfbench.testing.kinds import SPLIT, TENSOR, Kind, is_number, require_fields, require_kind

FILES = Kind(
    "a tuple of DataFile (hfbench.parts.data_files), () if it reads none",
    lambda value: isinstance(value, (tuple, list)) and all(isinstance(file, DataFile) for file in value),
)
MODEL = Kind("a torch.nn.Module", lambda value: isinstance(value, nn.Module))
FEW = 16  # cases that a model is tried on
ALIKE = 0.01  # part of held-out cases that may be equal to training cases: data sets hold duplicates,
TWINS = 2  # and be they ever so small
PAIRED = "all methods of a study share split and initial weights by seed: without that nothing is paired"


class TaskContract(Contract):
    """Contract of a task (hfbench/parts/protocols.py, `Task`)."""

    seconds: ClassVar[float] = 300.0  # real data are read and decompressed
    _loaded: ClassVar[dict[int, TaskData]]

    def __init_subclass__(cls) -> None:
        cls._loaded = {}  # data of one seed, loaded once for all checks

    def task(self) -> Task:
        task: Task = self.built()
        return task

    def test_gives_data_and_a_model(self) -> None:
        """`load`, `model` and `error` return values of the right type, and so does the model."""
        model = self._model()
        inputs, targets = self._few()
        with torch.no_grad():
            z = model(inputs)
            require_kind("the model's output", z, TENSOR, "the loss is taken of it case by case")
            self._error(z, targets)

    # ------------------------------------------------------------ what is declared

    def test_declares_what_a_study_needs(self) -> None:
        task = self.task()
        for what, holds, came, allowed in (
            ("loss", task.loss in LOSSES, task.loss, " or ".join(LOSSES)),
            ("decay_mask", task.decay_mask in MASKS, task.decay_mask, " or ".join(MASKS)),
            ("decay", is_number(task.decay) and task.decay >= 0, task.decay, "mu >= 0"),
            ("target", is_number(task.target) and task.target > 0, task.target, "a positive test error"),
            ("budget", _is_budget(task.budget), task.budget, f"positive limits, among {', '.join(LIMITS)}"),
        ):
            require(bool(holds), f"`{what}`: {allowed}", repr(came), "studies are checked before they are run")

    def test_its_files_are_checked(self) -> None:
        """Every required file has a checksum, and the files that exist pass it."""
        files = self._files()
        if not files:
            not_applicable("it reads no files")
        for file in files:
            require(
                file.optional or bool(re.fullmatch(r"[0-9a-f]{64}", file.sha256)),
                f"a sha256 of the decompressed bytes of {file.path}",
                repr(file.sha256),
                "other data under the same name give other results, unnoticed",
            )
        for file in files:
            if present(file, self.data) is None:
                continue
            try:
                verify(file, self.data)
            except DataError as error:
                require(False, f"the bytes that the sha256 of {file.path} belongs to", str(error), "as above")

    # ------------------------------------------------------------ data

    def test_shapes_and_ranges(self) -> None:
        data, loss = self._data(), self.task().loss
        for name, split in _splits(data):
            require(
                len(split.inputs) == len(split.targets) > 0,
                f"as many inputs as targets in {name}, and some",
                f"{len(split.inputs)} and {len(split.targets)}",
                "cases are drawn by their index from both",
            )
            require(
                split.inputs.dtype == torch.float32 and bool(split.inputs.isfinite().all()),
                f"finite float32 inputs in {name}",
                f"{split.inputs.dtype}, {int((~split.inputs.isfinite()).sum())} of them not finite",
                "precision is a setting of the study, not of the task",
            )
            for problem in _of_targets(split.targets, loss):
                require(
                    False,
                    f"targets of {name} as the {loss} loss has them",
                    problem,
                    "the loss is convex and its Hessian positive for such targets alone",
                )
        shapes = {tuple(split.inputs.shape[1:]) for _, split in _splits(data)}
        require(len(shapes) == 1, "cases of one shape in all splits", f"{shapes}", "one model sees them all")

    def test_splits_are_disjoint(self) -> None:
        cases = {name: _fingerprints(split) for name, split in _splits(self._data())}
        for split, other in combinations(cases, 2):
            seen = set(cases[split])
            common = sum(case in seen for case in cases[other])
            allowed = max(ALIKE * len(cases[other]), TWINS)
            require(
                common <= allowed,
                f"{other} cases that are not among those of {split} ({allowed:.0f} may: data sets hold duplicates)",
                f"{common} of {len(cases[other])} are",
                "an error on cases that were trained on says nothing, and a validation test never fires",
            )

    def test_data_are_the_same_for_a_seed(self) -> None:
        with global_random_state_kept(PAIRED):
            again = self._load(0)
        for (name, once), (_, twice) in zip(_splits(self._data()), _splits(again), strict=True):
            require(
                torch.equal(once.inputs, twice.inputs) and torch.equal(once.targets, twice.targets),
                f"the same {name} cases in the same order from generators of one seed",
                "others",
                PAIRED,
            )

    # ------------------------------------------------------------ model

    def test_model_is_the_same_for_a_seed(self) -> None:
        (once, state), (again, _), (_, of_other) = (self._made(*seeds) for seeds in ((0, 1), (0, 2), (1, 2)))
        require(
            all(torch.equal(a, b) for a, b in zip(once, again, strict=True)),
            "the same initial weights from generators of one seed",
            "others",
            PAIRED,
        )
        require(
            not torch.equal(state, of_other),
            "torch's global generator left alone, or seeded by the generator that is handed over",
            "it was set to a constant: the same weights for every seed",
            "runs that differ in nothing but their batches give intervals that are too narrow",
        )
        kinds = {weight.dtype for weight in once}
        require(kinds == {torch.float32}, "weights in float32", f"{kinds}", "precision is a setting of the study")

    def test_model_and_loss_fit_the_data(self) -> None:
        """Loss, gradient and Gauss-Newton product are finite at the initial weights."""
        task, model, (inputs, targets) = self.task(), self._model(), self._few()
        z = model(inputs)
        require(
            isinstance(z, Tensor) and len(z) == len(inputs) and bool(z.isfinite().all()),
            f"finite outputs, one for each of {len(inputs)} cases, before any final activation",
            f"shape {tuple(z.shape)}" if isinstance(z, Tensor) else f"a {type(z).__name__}",
            "the loss is taken of them case by case",
        )
        last = type(z.grad_fn).__name__.removesuffix("Backward0")
        require(
            task.loss == "least-squares" or last not in ("Sigmoid", "Softmax"),
            f"outputs before the final activation, which the {task.loss} loss contains",
            f"those of a {last}",
            "with the activation taken twice the loss is not convex in the outputs, and gradients vanish",
        )
        at = linearize(model, task.loss, inputs, targets)
        norm = at.gradient.norm()
        require(norm > 0, "a gradient at the initial weights", f"‖g‖ = {norm}", "else there is nothing to train")
        product = at.gauss_newton(at.gradient)
        curvature = at.gradient.dot(product)
        require(
            product.isfinite() and curvature >= 0,
            "gᵀGg >= 0 and finite: the model can be differentiated twice",
            f"gᵀGg = {curvature}",
            "the Gauss-Newton matrix is positive semidefinite by its making",
        )

    def test_cases_do_not_see_one_another(self) -> None:
        model, (inputs, _) = self._model(), self._few()
        with torch.no_grad():
            together, again, half = model(inputs), model(inputs), model(inputs[: FEW // 2])
        require(
            torch.equal(together, again),
            "the same outputs when the model is called again",
            f"a difference of {largest_difference(again, together):.1e}: a random layer such as dropout",
            "line search and backtracking compare objectives of one function",
        )
        why = "curvature is a mean over cases; batches and chunks must not change what is computed"
        off = largest_difference(half, together[: FEW // 2])
        require(
            off <= 1e-4,
            "a case's output to be the same whatever other cases are in the batch",
            f"a difference of {off:.1e}: a layer that mixes cases, such as batch norm",
            why,
        )
        with torch.no_grad():
            alone = model(inputs[:1])
        require(
            alone.shape == together[:1].shape and largest_difference(alone, together[:1]) <= 1e-4,
            f"the output of one case alone as in a batch, of shape {tuple(together[:1].shape)}",
            f"shape {tuple(alone.shape)}" if alone.shape != together[:1].shape else "another",
            why,
        )

    # ------------------------------------------------------------ error and target

    def test_error_is_per_case(self) -> None:
        model, (inputs, targets) = self._model(), self._few()
        with torch.no_grad():
            z = model(inputs)
            errors = self._error(z, targets)
            one = self._error(z[:1], targets[:1])
        require(
            errors.shape == (len(inputs),) and bool(errors.isfinite().all()) and bool((errors >= 0).all()),
            f"one finite error >= 0 per case, shape ({len(inputs)},)",
            f"shape {tuple(errors.shape)}, from {float(errors.min()):.3g} to {float(errors.max()):.3g}",
            "the test error is their mean over all cases, taken in chunks",
        )
        require(
            largest_difference(one, errors[:1]) <= 1e-5,
            "a case's error to be its own",
            f"{float(one[0]):.6g} alone, {float(errors[0]):.6g} among others",
            "as above",
        )

    def test_target_is_not_met_at_the_start(self) -> None:
        task, model, data = self.task(), self._model(), self._data()
        some = slice(0, 1000)
        with torch.no_grad():
            error = float(self._error(model(data.test.inputs[some]), data.test.targets[some]).mean())
        require(
            error > task.target,
            f"an initial test error above the target {task.target:g}",
            f"{error:.4g}",
            "every method would be done before its first step",
        )

    # ------------------------------------------------------------ helpers

    def _data(self) -> TaskData:
        if 0 not in self._loaded:
            self._loaded[0] = self._load(0)
        return self._loaded[0]

    def _load(self, seed: int) -> TaskData:
        """The data; the check does not apply if their files are missing."""
        lacking = [file.path for file in self._files() if not file.optional and present(file, self.data) is None]
        if lacking:
            not_applicable(f"its files are not here ({', '.join(lacking)}): hfbench data fetch")
        data = self.task().load(seeded_generator(seed), self.data)
        splits = dict.fromkeys(("train", "validation", "test"), SPLIT)
        require_fields("what `load` returns", data, splits, "cases are drawn, and errors taken, from these three")
        return data

    def _model(self, seed: int = 1) -> nn.Module:
        model = self.task().model(seeded_generator(seed))
        require_kind("what `model` returns", model, MODEL, "its parameters are what is trained")
        return model

    def _error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        errors = self.task().error(outputs, targets)
        require_kind("what `error` returns", errors, TENSOR, "the test error is its mean over all cases")
        return errors

    def _files(self) -> tuple[DataFile, ...]:
        files = self.task().files
        require_kind("`files`", files, FILES, "`hfbench data` fetches and verifies them")
        return files

    def _made(self, seed: int, of_torch: int) -> tuple[list[Tensor], Tensor]:
        """A model's weights, and the final state of torch's global generator, which was seeded before."""
        with global_seed(of_torch):
            return list(self._model(seed).parameters()), torch.get_rng_state()

    def _few(self) -> tuple[Tensor, Tensor]:
        train = self._data().train
        return train.inputs[:FEW], train.targets[:FEW]


def _splits(data: TaskData) -> list[tuple[str, Split]]:
    return [("train", data.train), ("validation", data.validation), ("test", data.test)]


def _is_budget(budget: object) -> bool:
    return (
        isinstance(budget, dict)
        and bool(budget)
        and set(budget) <= set(LIMITS)
        and all(map(_is_positive, budget.values()))
    )


def _is_positive(value: object) -> bool:
    return is_number(value) and value > 0


def _of_targets(targets: Tensor, loss: str) -> list[str]:
    """Problem of the targets, if there is one."""
    if loss == "softmax" and not targets.is_floating_point():
        return (
            []
            if targets.dtype == torch.int64 and int(targets.min()) >= 0
            else [f"{targets.dtype}, from {targets.min()}"]
        )
    if targets.dtype != torch.float32:
        return [f"{targets.dtype}"]
    low, high = float(targets.min()), float(targets.max())
    if not (low - low == 0 and high - high == 0):
        return ["some that are not finite"]
    if loss == "logistic" and not 0 <= low <= high <= 1:
        return [f"values from {low:.4g} to {high:.4g}, outside [0, 1]"]
    if loss == "softmax" and (low < 0 or float((targets.sum(-1) - 1).abs().max()) > 1e-4):
        return ["probabilities that are negative or do not sum to one"]
    return []


def _fingerprints(split: Split) -> list[bytes]:
    """Fingerprint of a case's input."""
    return [row.numpy().tobytes() for row in split.inputs.reshape(len(split), -1)]
