"""The pieces of one run, made from its specification: data, model, optimiser."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from hfbench import registry
from hfbench.errors import ConfigError
from hfbench.optimizer import HessianFree
from hfbench.protocols import BatchPlan, Split, Task, TaskData
from hfbench.runspec import RunSpec
from hfbench.streams import generator

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def build_task(spec: RunSpec) -> Task:
    task: Task = registry.build("task", dict(spec.task_settings), where=f"tasks.{spec.task}")
    return task


def load(spec: RunSpec, data: str | None = None) -> TaskData:
    """The run's data in its precision; the split depends on the seed alone."""
    loaded = build_task(spec).load(generator(spec.seed, "split"), data)

    def cast(split: Split) -> Split:
        floating = split.targets.is_floating_point()
        dtype = DTYPES[spec.precision]
        return Split(split.inputs.to(dtype), split.targets.to(dtype) if floating else split.targets)

    return replace(loaded, train=cast(loaded.train), validation=cast(loaded.validation), test=cast(loaded.test))


def build_model(task: Task, spec: RunSpec) -> nn.Module:
    """The initial model of the run; its weights depend on the task and the seed alone."""
    return task.model(generator(spec.seed, "weights")).to(DTYPES[spec.precision])


def build_optimizer(model: nn.Module, task: Task, spec: RunSpec) -> HessianFree:
    """The optimiser of the run's method."""
    method = spec.method
    return HessianFree(
        model,
        loss=task.loss,
        solver=method.solver,
        preconditioner=method.preconditioner,
        rules=method.rules,
        globalization=dict(method.globalization),
        decay=task.decay,
        decay_mask=task.decay_mask,
        seed=generator(spec.seed, "probes"),
        max_inner=method.max_inner,
        right_hand_side=method.right_hand_side,
        chunk=method.chunk,
    )


def check_plan(plan: BatchPlan, total: int, spec: RunSpec) -> None:
    """Raises ConfigError for a batch that is empty or larger than the training set."""
    for name, size in (("gradient", plan.gradient), ("curvature", plan.curvature)):
        if not 1 <= size <= total:
            raise ConfigError(
                f"methods.{spec.method.name}.scheduler: a {name} batch must have 1 to {total} cases, all that task "
                f"{spec.task!r} has for training, but it plans {size}. Make the batch smaller."
            )
