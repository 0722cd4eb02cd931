"""Contract of a task's data: as declared, the same for one seed, splits apart, files listed and checked."""

from __future__ import annotations

import re
import shutil
import tempfile
from itertools import combinations
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from hfbench.config.measures import LIMITS
from hfbench.curvature.loss import LOSSES
from hfbench.curvature.weight_decay import MASKS
from hfbench.errors import DataError
from hfbench.parts.data_files import DataFile, present, verify
from hfbench.parts.protocols import Split, Task, TaskData
from hfbench.testing.contract import (
    Contract,
    global_random_state_kept,
    not_applicable,
    require,
    seeded_generator,
)
from hfbench.testing.kinds import SPLIT, TENSOR, Kind, is_number, require_fields, require_kind
from hfbench.testing.opened_files import opened_files

FILES = Kind(
    "a tuple of DataFile (hfbench.parts.data_files), () if it reads none",
    lambda value: isinstance(value, (tuple, list)) and all(isinstance(file, DataFile) for file in value),
)
MODEL = Kind("a torch.nn.Module", lambda value: isinstance(value, nn.Module))
FEW = 16  # cases that a model is tried on
ALIKE = 0.01  # part of held-out cases that may be equal to training cases: data sets hold duplicates,
TWINS = 2  # and be they ever so small
PAIRED = "all methods of a study share split and initial weights by seed: without that nothing is paired"


class TaskDataContract(Contract):
    """Checks of a task's declarations and data (hfbench/parts/protocols.py, `Task`)."""

    seconds: ClassVar[float] = 300.0  # real data are read and decompressed
    _loaded: ClassVar[dict[int, TaskData]]
    _opened: ClassVar[set[Path]]

    def __init_subclass__(cls) -> None:
        cls._loaded, cls._opened = {}, set()  # data of one seed, loaded once for all checks, and the files of any load

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
        every, is_root = getattr(task, "evaluate_every", 1), getattr(task, "error_is_root", False)
        for what, holds, came, allowed in (
            ("loss", task.loss in LOSSES, task.loss, " or ".join(LOSSES)),
            ("decay_mask", task.decay_mask in MASKS, task.decay_mask, " or ".join(MASKS)),
            ("decay", is_number(task.decay) and task.decay >= 0, task.decay, "mu >= 0"),
            ("target", is_number(task.target) and task.target > 0, task.target, "a positive error"),
            ("budget", _is_budget(task.budget), task.budget, f"positive limits, among {', '.join(LIMITS)}"),
            ("evaluate_every", type(every) is int and every >= 1, every, "a number of steps from 1, or none"),
            ("error_is_root", type(is_root) is bool, is_root, "True, False or none"),
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

    def test_lists_the_files_that_it_reads(self) -> None:
        self._data()
        listed = {path.resolve() for file in self._files() if (path := present(file, self.data)) is not None}
        others = sorted(map(str, self._opened - listed))
        require(
            not others,
            "every file that `load` reads in `files`, with its checksum",
            f"{', '.join(others)} read, and not listed",
            "a file that is not listed is neither fetched nor verified: another one gives other results, unnoticed",
        )

    def test_searches_the_data_folder_first(self) -> None:
        """`load(generator, folder)` reads the files that the folder has from there."""
        self._data()
        found = [(file, path) for file in self._files() if (path := present(file, self.data)) is not None]
        with tempfile.TemporaryDirectory() as folder:
            for file, path in found:
                copy = file.below(Path(folder))
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
            with opened_files() as opened:
                self._load(0, folder)
            elsewhere = {str(path) for path in opened} & {str(path.resolve()) for _, path in found}
        require(
            not elsewhere,
            "`load(generator, data)` to search the folder `data` first",
            f"{', '.join(sorted(elsewhere))} read, although `data` has a copy",
            "--data names the files to use; others would be used without a word",
        )

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

    def test_generator_draws_the_validation_cases(self) -> None:
        once, other = self._data().validation.inputs, self._load(1).validation.inputs
        require(
            once.shape != other.shape or not torch.equal(once, other),
            "other validation cases from a generator of another seed",
            "the same",
            "seeds that share their split differ too little, and intervals over them are too narrow",
        )

    # ------------------------------------------------------------ helpers

    def _data(self) -> TaskData:
        if 0 not in self._loaded:
            self._loaded[0] = self._load(0)
        return self._loaded[0]

    def _load(self, seed: int, folder: str | None = None) -> TaskData:
        """The data, searched in the folder first; the check does not apply if their files are missing."""
        lacking = [file.path for file in self._files() if not file.optional and present(file, self.data) is None]
        if lacking:
            not_applicable(f"its files are not here ({', '.join(lacking)}): hfbench data fetch")
        with opened_files() as opened:
            data = self.task().load(seeded_generator(seed), folder or self.data)
        if folder is None:
            self._opened.update(opened)
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
