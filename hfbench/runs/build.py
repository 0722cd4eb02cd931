"""Builders of the task, data, model, optimiser and schedule of a run from its specification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from hfbench.config.devices import device_of
from hfbench.config.run_spec import RunSpec
from hfbench.curvature.model_checks import trainable
from hfbench.curvature.weight_decay import decay_per_block
from hfbench.errors import ConfigError
from hfbench.hessian_free.optimizer import HessianFree
from hfbench.memory.construction import TooLargeError, WithinMemory
from hfbench.messages import listed
from hfbench.parts import registry
from hfbench.parts.hyperparameters import blame, located
from hfbench.parts.protocols import Baseline, BatchPlan, Optimizer, Schedule, Split, Task, TaskData
from hfbench.runs.batch_replay import Replay
from hfbench.runs.random_streams import generator

SPLITS = ("train", "validation", "test")
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def build_task(spec: RunSpec) -> Task:
    task: Task = registry.build("task", dict(spec.task_settings), where=f"tasks.{spec.task}")
    return task


def load_data(spec: RunSpec, data: str | None = None) -> TaskData:
    """The run's data in its precision and on its device; the split depends on the seed alone.

    Raises ConfigError if the data do not allow a setting of the task, which it names, or if the device does not exist;
    DataError for missing files.
    """
    task, device = build_task(spec), device_of(spec.device)
    try:
        loaded = task.load(generator(spec.seed, "split"), data)
    except ConfigError as error:  # a task does not know what the study calls it
        at, problem = blame(type(task), f"tasks.{spec.task}", error)
        raise ConfigError(f"{at}: {problem}") from error
    if empty := [name for name in SPLITS if not len(getattr(loaded, name))]:
        raise ConfigError(
            f"tasks.{spec.task}: its data must have cases to train on, for validation and for the test, but there are "
            f"none in {listed(empty)}. Set some of the training cases aside where the data come without."
        )

    def cast(split: Split) -> Split:
        floating = split.targets.is_floating_point()
        dtype = DTYPES[spec.precision]
        inputs = split.inputs.to(device, dtype)
        if split.targets is split.inputs:
            return Split(inputs, inputs)
        return Split(inputs, split.targets.to(device, dtype if floating else split.targets.dtype))

    return replace(loaded, train=cast(loaded.train), validation=cast(loaded.validation), test=cast(loaded.test))


def build_model(task: Task, spec: RunSpec) -> nn.Module:
    """The initial model of the run; its weights depend on the task and the seed alone.

    Raises ConfigError for a model that does not fit into memory.
    """
    try:
        with WithinMemory():
            model = task.model(generator(spec.seed, "weights"))
    except TooLargeError as error:
        raise ConfigError(f"tasks.{spec.task}: its model must fit into memory, but {error}.") from error
    return model.to(device_of(spec.device), DTYPES[spec.precision])


def build_optimizer(model: nn.Module, task: Task, spec: RunSpec) -> Optimizer:
    """The optimiser of the run's method: a baseline's, or `HessianFree`."""
    method = spec.method
    if method.optimizer is not None:
        where = f"methods.{method.name}.optimizer"
        baseline: Baseline = registry.build("optimizer", method.optimizer, where=where)
        mu_D = decay_per_block(list(trainable(model).values()), task.decay, task.decay_mask)
        try:
            return baseline.begin(model, task.loss, mu_D)
        except ConfigError as error:  # a baseline does not know its method
            at, problem = blame(type(baseline), where, error)
            raise ConfigError(f"{at} on task {spec.task}: {problem}") from error
    assert method.solver is not None  # `methods.resolve` has checked it
    assert method.preconditioner is not None
    with located(f"methods.{method.name}"):
        return HessianFree(
            model,
            loss=task.loss,
            solver=method.solver,
            preconditioner=method.preconditioner,
            rules=method.rules,
            globalization=dict(method.globalization),
            decay=task.decay,
            decay_mask=task.decay_mask,
            seed=generator(spec.seed, stream(spec, "probes")),
            max_inner=method.max_inner,
            right_hand_side=method.right_hand_side,
            chunk=method.chunk,
            max_bytes=method.max_bytes,
            layout=method.layout,
            precision=method.precision,
            gradient_precision=method.gradient_precision,
        )


def stream(spec: RunSpec, name: str) -> str:
    """The name of a method's random stream; methods with the same `stream` setting share it."""
    return f"{name}/{spec.method.stream}" if spec.method.stream else name


def begin_schedule(
    spec: RunSpec, total: int, recorded: Sequence[BatchPlan] | None = None
) -> tuple[Schedule, tuple[str, ...]]:
    """The schedule of the run's method for `total` training cases, and the evidence it needs of every step.

    `recorded` are the batches to replay, if the method has no scheduler. Raises ConfigError, which names method,
    setting and task, for batches that are larger than the task's training set.
    """
    if recorded is not None:
        return Replay(recorded), ()
    where = f"methods.{spec.method.name}.scheduler"
    scheduler = registry.build("scheduler", spec.method.scheduler, where=where)
    try:
        schedule: Schedule = scheduler.begin(total)
    except ConfigError as error:  # a scheduler knows neither its method nor the task
        at, problem = blame(type(scheduler), where, error)
        raise ConfigError(f"{at} on task {spec.task}: {problem}") from error
    check_plan(schedule.plan, total, spec)
    _check_minibatch(total, spec)
    return schedule, scheduler.needs


def _check_minibatch(total: int, spec: RunSpec) -> None:
    """Raises ConfigError for a minibatch, of a baseline that takes one, which no batch can ever fill."""
    minibatch = (spec.method.optimizer or {}).get("minibatch", 0)
    if minibatch > total:
        raise ConfigError(
            f"methods.{spec.method.name}.optimizer.minibatch on task {spec.task}: must be at most the {total} cases "
            f"there are for training, but is {minibatch}."
        )


def check_plan(plan: BatchPlan, total: int, spec: RunSpec) -> None:
    """Raises ConfigError for a batch that is empty or larger than the training set."""
    for name, size in (("gradient", plan.gradient), ("curvature", plan.curvature)):
        if not 1 <= size <= total:
            raise ConfigError(
                f"methods.{spec.method.name}.scheduler on task {spec.task}: a {name} batch must have 1 to {total} "
                f"cases, all there are for training, but it plans {size}."
            )
