"""Networks for measuring products, with generated cases, on which the cost of a product does not depend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hfbench import registry
from hfbench.linalg.vector import Vector
from hfbench.runs.random_streams import generator

INPUTS = {"curves": (784,), "mnist": (784,), "usps": (256,), "mnist-conv": (784,), "addition": (30, 2)}


@dataclass(frozen=True)
class Problem:
    """A task's network and loss, cases in the shapes of the task's, and a direction v."""

    task: str
    model: nn.Module
    loss: str
    inputs: Tensor
    targets: Tensor
    v: Vector


def problem(task_name: str, cases: int, **settings: Any) -> Problem:
    """A task's network with `cases` random cases; `settings` are the task's (`layers`, say)."""
    task = registry.build("task", {"use": task_name, **settings})
    model = task.model(generator(0, "weights"))
    inputs = torch.rand(cases, *INPUTS[task_name], generator=generator(0, "inputs"))
    with torch.no_grad():
        width = model(inputs[:1]).shape[1:]
    targets = torch.rand(cases, *width, generator=generator(0, "targets"))
    v = Vector(torch.randn(p.shape, generator=generator(0, "direction")) for p in model.parameters())
    return Problem(task_name, model, task.loss, inputs, targets, v)
