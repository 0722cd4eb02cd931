"""Evaluation of a model on a split: mean error, in chunks that stay below the memory peak of a step, and pictures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hfbench.memory.allocations import case_slices
from hfbench.memory.forecast import plan_of, resident_bytes
from hfbench.parts.protocols import HasPictures, Split, Task

CHUNK = 1024  # cases per forward pass
EXAMPLES = 8  # cases shown


@torch.no_grad()
def mean_error(model: nn.Module, task: Task, split: Split, max_bytes: int | None = None) -> float:
    """(1/n) Σ_i error_i over the n cases of a split, summed in float64; not finite if any output is not finite.

    `max_bytes` limits the bytes of tensors, the cases not counted.
    """

    def total(inputs: Tensor, targets: Tensor, size: int | None) -> float:
        parts = case_slices(len(inputs), size or len(inputs))
        errors = (task.error(model(inputs[part]), targets[part]) for part in parts)
        return sum(error.sum(dtype=torch.float64).item() for error in errors)

    size: int | None = CHUNK
    if max_bytes is not None:
        size = plan_of(total, split.inputs, split.targets, resident_bytes(model, ()), CHUNK, max_bytes).chunk
    return total(split.inputs, split.targets, size) / len(split)


@torch.no_grad()
def examples(model: nn.Module, task: Task, split: Split) -> dict[str, npt.NDArray[np.float32]] | None:
    """The first cases of a split as pictures: `originals` and `reconstructions` (k × height × width), `errors` (k,).

    None for a task that has no pictures.
    """
    if not isinstance(task, HasPictures):
        return None
    targets = split.targets[:EXAMPLES]
    outputs = model(split.inputs[:EXAMPLES])
    reconstructions, originals = task.pictures(outputs, targets)
    errors = task.error(outputs, targets)
    shown = {"originals": originals, "reconstructions": reconstructions, "errors": errors}
    return {name: values.float().cpu().numpy() for name, values in shown.items()}
