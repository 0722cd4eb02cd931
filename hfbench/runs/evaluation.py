"""Evaluation of a model on a split: mean error, in chunks that stay below the memory peak of a step, and pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hfbench.memory.allocations import case_slices
from hfbench.memory.forecast import plan_of, resident_bytes
from hfbench.parts.protocols import Split, Task
from hfbench.parts.shown_outputs import Field, HasField, HasPictures

CHUNK = 1024  # cases per forward pass
EXAMPLES = 8  # cases shown


def mean_error(model: nn.Module, task: Task, split: Split, max_bytes: int | None = None) -> float:
    """(1/n) Σ_i error_i over the n cases of a split, summed in float64; not finite if any output is not finite.

    Of a task with `error_is_root`, the root of it.
    `max_bytes` limits the bytes of tensors, the cases not counted.
    """

    def total(errors: Iterator[Tensor]) -> float:
        return sum(error.sum(dtype=torch.float64).item() for error in errors)

    return error_of_mean(task, _over_cases(total, model, task, split, max_bytes) / len(split))


def least_error(model: nn.Module, task: Task, split: Split, max_bytes: int | None = None) -> float | None:
    """(1/n) min_i error_i over the cases with an error above 0: what such a case adds to the mean; None without one."""

    def least(errors: Iterator[Tensor]) -> float:
        return min(torch.where(error > 0, error, torch.inf).min().item() for error in errors)

    found = _over_cases(least, model, task, split, max_bytes) / len(split)
    return error_of_mean(task, found) if found < math.inf else None


def error_of_mean(task: Task, mean: float) -> float:
    """The error of a split with that mean over its cases."""
    return math.sqrt(mean) if getattr(task, "error_is_root", False) and mean >= 0 else mean


@torch.no_grad()
def _over_cases(
    reduce: Callable[[Iterator[Tensor]], float], model: nn.Module, task: Task, split: Split, max_bytes: int | None
) -> float:
    """What the errors of the cases, in chunks, come to."""

    def reduced(inputs: Tensor, targets: Tensor, size: int | None) -> float:
        parts = case_slices(len(inputs), size or len(inputs))
        return reduce(task.error(model(inputs[part]), targets[part]) for part in parts)

    size: int | None = CHUNK
    if max_bytes is not None:
        size = plan_of(reduced, split.inputs, split.targets, resident_bytes(model, ()), CHUNK, max_bytes).chunk
    return reduced(split.inputs, split.targets, size)


@torch.no_grad()
def examples(model: nn.Module, task: Task, split: Split) -> dict[str, npt.NDArray[Any]] | None:
    """What a report shows of the outputs on a split; None for a task that has neither pictures nor a field.

    The first cases as pictures: `originals` and `reconstructions` (k × height × width), `errors` (k,). All cases as a
    field: `solution` and `prediction` (height × width), `axes` (2,), `extent` (4,).
    """
    if isinstance(task, HasField):
        outputs = torch.cat([model(split.inputs[part]) for part in case_slices(len(split), CHUNK)])
        field = task.field(outputs, split.targets)
        return _arrays(field) if field is not None else None
    if not isinstance(task, HasPictures):
        return None
    targets = split.targets[:EXAMPLES]
    outputs = model(split.inputs[:EXAMPLES])
    reconstructions, originals = task.pictures(outputs, targets)
    errors = task.error(outputs, targets)
    shown = {"originals": originals, "reconstructions": reconstructions, "errors": errors}
    return {name: _numbers(values) for name, values in shown.items()}


def _arrays(field: Field) -> dict[str, npt.NDArray[Any]]:
    return {
        "solution": _numbers(field.solution),
        "prediction": _numbers(field.prediction),
        "axes": np.array(field.axes),
        "extent": np.array(field.extent, dtype=np.float32),
    }


def _numbers(values: Tensor) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = values.float().cpu().numpy()
    return found
