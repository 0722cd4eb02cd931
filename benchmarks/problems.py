"""Networks for measuring products, with generated cases, on which the cost of a product does not depend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hfbench import registry
from hfbench.linalg.vector import Vector
from hfbench.runs.random_streams import generator

from .networks import NETWORKS

INPUTS: dict[str, tuple[int, ...]] = {
    "curves": (784,),
    "mnist": (784,),
    "usps": (256,),
    "mnist-conv": (784,),
    "addition": (30, 2),
}


@dataclass(frozen=True)
class Problem:
    """A task's network and loss, cases in the shapes of the task's, and a direction v."""

    task: str
    model: nn.Module
    loss: str
    inputs: Tensor
    targets: Tensor
    v: Vector


def problem(name: str, cases: int, **settings: Any) -> Problem:
    """A task's network, or one of `NETWORKS`, with `cases` random cases; `settings` are the task's (`layers`, say)."""
    if name in NETWORKS:
        with torch.random.fork_rng(devices=[]):  # layers draw from the global generator
            torch.manual_seed(0)
            model = NETWORKS[name].make()
        loss, shape = NETWORKS[name].loss, NETWORKS[name].inputs
    else:
        task = registry.build("task", {"use": name, **settings})
        model, loss, shape = task.model(generator(0, "weights")), task.loss, INPUTS[name]
    inputs = torch.rand(cases, *shape, generator=generator(0, "inputs"))
    with torch.no_grad():
        width = model(inputs[:1]).shape[1:]
    targets = torch.rand(cases, *width, generator=generator(0, "targets"))
    v = Vector(torch.randn(p.shape, generator=generator(0, "direction")) for p in model.parameters())
    return Problem(name, model, loss, inputs, targets, v)


def sizes_of(name: str, cases: Sequence[int]) -> list[int]:
    """Those numbers of cases that are worth a measurement on this network."""
    return [n for n in cases if name not in NETWORKS or n <= NETWORKS[name].most]
