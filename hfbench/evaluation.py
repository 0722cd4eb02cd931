"""Errors of a model on a split, in chunks, so that evaluation does not set the peak of memory."""

from __future__ import annotations

import torch
from torch import nn

from hfbench.protocols import Split, Task

CHUNK = 1024  # cases per forward pass


@torch.no_grad()
def mean_error(model: nn.Module, task: Task, split: Split) -> float:
    """(1/n) Σ_i error_i over the n cases of a split, summed in float64; not finite if an output is not."""
    total = 0.0
    for start in range(0, len(split), CHUNK):
        chunk = slice(start, start + CHUNK)
        total += task.error(model(split.inputs[chunk]), split.targets[chunk]).sum(dtype=torch.float64).item()
    return total / len(split)
