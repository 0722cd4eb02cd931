"""What a model makes of a split: its error, in chunks, so that evaluation does not set the peak of memory; examples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from hfbench.protocols import Pictured, Split, Task

CHUNK = 1024  # cases per forward pass
EXAMPLES = 8  # cases shown


@torch.no_grad()
def mean_error(model: nn.Module, task: Task, split: Split) -> float:
    """(1/n) Σ_i error_i over the n cases of a split, summed in float64; not finite if an output is not."""
    total = 0.0
    for start in range(0, len(split), CHUNK):
        chunk = slice(start, start + CHUNK)
        total += task.error(model(split.inputs[chunk]), split.targets[chunk]).sum(dtype=torch.float64).item()
    return total / len(split)


@torch.no_grad()
def examples(model: nn.Module, task: Task, split: Split) -> dict[str, npt.NDArray[np.float32]] | None:
    """The first cases of a split as pictures: `originals` and `reconstructions` (k × height × width), `errors` (k,).

    None for a task that has no pictures.
    """
    if not isinstance(task, Pictured):
        return None
    targets = split.targets[:EXAMPLES]
    outputs = model(split.inputs[:EXAMPLES])
    reconstructions, originals = task.pictures(outputs, targets)
    errors = task.error(outputs, targets)
    shown = {"originals": originals, "reconstructions": reconstructions, "errors": errors}
    return {name: values.float().numpy() for name, values in shown.items()}
