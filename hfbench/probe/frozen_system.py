"""Frozen system: the linear system of one outer iteration, in one small file that rebuilds it.

A system is stored by its inputs, not as a matrix: weights, indices of the cases, lambda, warm start, the state of the
preconditioner and of the generator that draws its probes, and the previous step. The data come from the task, as they
did in the run, and are checked to be the same.

File    b"hfbench system 1\\n", the sha256 of all that follows as 64 hexadecimal digits and b"\\n", then tensors and
        plain data as `torch.save` writes them, read with `weights_only`: nothing in a file can execute code
Replay  bit for bit on the same machine and libraries, to rounding elsewhere
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hfbench.config.methods import Method
from hfbench.config.run_spec import RunSpec
from hfbench.errors import ConfigError, HfbenchError, StoreError
from hfbench.hessian_free.optimizer import HessianFree
from hfbench.hessian_free.step_result import StepSystem
from hfbench.linalg.vector import Vector
from hfbench.messages import printable_line, quoted
from hfbench.parts.hyperparameters import located
from hfbench.parts.protocols import Task, TaskData
from hfbench.probe.part_errors import parts_named
from hfbench.probe.system_checks import check_cases, check_method, check_system, check_weights
from hfbench.records.files import is_safe_name
from hfbench.records.sealed import unseal, write_sealed
from hfbench.records.tensors import load_tensors
from hfbench.regular_files import MB, read_regular_file
from hfbench.runs import batches
from hfbench.runs.attempt import single_threaded
from hfbench.runs.build import build_model, build_optimizer, build_task, load_data

MAGIC = b"hfbench system 1\n"
ROUNDING = 1e-5  # relative; generated data may differ by it from machine to machine
SEEN = 1e-2  # relative; of the norm of a small gradient in float32 little more is certain elsewhere
SUFFIX = ".system"
LARGEST = 1024 * MB  # bytes of a file


@dataclass(frozen=True)
class FrozenSystem:
    """Inputs of the system of one outer iteration, taken from a run."""

    run: dict[str, Any]  # the run's configuration, `RunSpec.config`
    iteration: int  # 1, 2, …: the step that the system is of
    damping: float  # lambda of the system
    met: float  # lambda that the run met
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    gradient_cases: Tensor
    curvature_cases: Tensor | None  # None: those of the gradient
    previous_step: list[Tensor] | None  # blocks shaped like the parameters; None for the first system of a run
    data: dict[str, Any]  # `fingerprint` of the task's data
    seen: dict[str, Any]  # objective, gradient_norm and the sha256 of the gradient, as the run met them
    libraries: dict[str, str]

    @property
    def moment(self) -> str:
        """`method-task-s<seed>-i<iteration>`."""
        run = self.run
        return f"{run['method']['name']}-{run['task']}-s{run['seed']}-i{self.iteration}"

    @property
    def name(self) -> str:
        """The moment, and the factor of lambda if it was changed."""
        return self.moment if self.damping == self.met else f"{self.moment}-lambda-x{self.damping / self.met:g}"

    @property
    def told(self) -> str:
        """One line: name, lambda and number of cases."""
        return f"{self.name}: lambda {self.damping:.3g}, {len(self.gradient_cases)} cases"

    def damped(self, factor: float) -> FrozenSystem:
        """The same system with the run's lambda multiplied by `factor`."""
        if not 0 < factor < math.inf:
            raise ConfigError(f"lambda's factor must lie in (0, inf), but got {factor:g}.")
        return replace(self, damping=self.met * factor)

    def save(self, path: Path) -> Path:
        """Writes the file, whole or not at all. Raises StoreError if it would be too large to be read again."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        write_sealed(path, MAGIC, lambda file: torch.save(values, file))
        if (size := path.stat().st_size) > LARGEST:
            path.unlink()
            raise StoreError(
                f"a system must have at most {LARGEST / MB:g} MiB, but {path} would have {size / MB:.1f}: capture a "
                "smaller model."
            )
        return path

    @property
    def spec(self) -> RunSpec:
        """The run. Raises StoreError if this version of hfbench does not know such a run."""
        try:
            method = Method(**{**self.run["method"], "rules": tuple(self.run["method"]["rules"])})
            return RunSpec(**{**self.run, "method": method})
        except (KeyError, TypeError) as error:
            raise StoreError(
                f"the system {self.name} is of another version of hfbench ({quoted(self.libraries.get('hfbench'))}): "
                f"{printable_line(str(error))}. "
                "Capture it again with this one."
            ) from error

    def open(self, data: str | None = None, precision: str | None = None, **settings: Any) -> OpenedSystem:
        """The system, built again; `data` is a folder to search for files first.

        `precision` is the dtype of weights and data, by default the run's. `settings` replace the method's: solver,
        preconditioner, right_hand_side, precision of products as `products`, layout, chunk. Raises DataError
        for missing files, and StoreError if data or model differ from those that it was captured with.
        """
        if "products" in settings:
            settings["precision"] = settings.pop("products")
        spec = self.spec
        same = "preconditioner" not in settings or settings["preconditioner"] == spec.method.preconditioner
        spec = replace(spec, method=replace(spec.method, **settings), precision=precision or spec.precision)
        with parts_named(spec.used()):
            with located(self.name):
                check_method(spec.method)
            task = build_task(spec)
            loaded = load_data(spec, data)
            _check_data(self, loaded)
            model = build_model(task, spec)
            optimizer = build_optimizer(model, task, spec)
            assert isinstance(optimizer, HessianFree)  # `check_system` has seen to it
            _load(self, model, optimizer, keeps_preconditioner=same)
            opened = OpenedSystem(self, spec, task, loaded, model, optimizer)
            with single_threaded():  # as in the run
                _check_seen(self, opened.seen())
        return opened


def notes_on(frozen: FrozenSystem, data: str | None = None) -> list[str]:
    """A sentence if the gradient is not the run's to the last bit, else nothing. Raises as `FrozenSystem.open`."""
    opened = frozen.open(data, solver={"use": "cg"}, preconditioner={"use": "identity"}, rules=())
    with single_threaded():
        if opened.seen()["gradient"] == frozen.seen["gradient"]:
            return []
    return [
        f"{frozen.name}: its gradient is the run's to rounding only, so another machine's, or the file was changed."
    ]


def read_system(path: str | Path) -> FrozenSystem:
    """The system in a file. Raises StoreError for a file that is missing, foreign or damaged, or too large."""
    try:
        held = read_regular_file(Path(path), LARGEST)
    except OSError as error:
        raise StoreError(f"a system must be a file that can be read, but {path}: {error.strerror or error}.") from error
    if not held.startswith(MAGIC):
        raise StoreError(
            f"{path} is not a system that this version of hfbench captured; `hfbench capture` writes them."
        )
    payload = unseal(MAGIC, held)
    if payload is None:
        raise StoreError(f"{path} is damaged: what it holds does not have the sha256 that it states. Capture it again.")
    try:
        values = load_tensors(payload)
        check_system(values)
        system = FrozenSystem(**values)
        if not is_safe_name(system.name):
            raise ValueError(f"its name must have at most 100 characters, but is {quoted(system.name)}")
    except (HfbenchError, ValueError) as error:
        raise StoreError(
            f"{path} is of another version of hfbench, or was changed: {str(error).rstrip('.')}. "
            "Capture it again with this one."
        ) from error
    return system


@dataclass(frozen=True)
class OpenedSystem:
    """A frozen system with the task, data, model and optimiser of the run."""

    frozen: FrozenSystem
    spec: RunSpec
    task: Task
    data: TaskData
    model: nn.Module
    optimizer: HessianFree

    @property
    def batch(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the gradient's cases."""
        return batches.take(self.data.train, self.frozen.gradient_cases)

    @property
    def curvature(self) -> tuple[Tensor, Tensor] | None:
        """Inputs and targets of the curvature's cases; None if they are the gradient's."""
        cases = self.frozen.curvature_cases
        return None if cases is None else batches.take(self.data.train, cases)

    def system_at(self) -> tuple[StepSystem, Vector | None]:
        """System, preconditioner and warm start of a step."""
        return self.optimizer.system_at(*self.batch, self.curvature)

    def seen(self) -> dict[str, Any]:
        """The observations of `FrozenSystem.seen`, made here; equal on the same machine with the same libraries."""
        return observed(self.system_at()[0])

    @property
    def previous_step(self) -> Vector | None:
        """w - (w before the previous step), an initial iterate."""
        blocks = self.frozen.previous_step
        if blocks is None:
            return None
        like = self.optimizer.weights[0]
        return self.optimizer.layout.pack([block.to(like) for block in blocks])


def freeze(
    spec: RunSpec,
    iteration: int,
    data: TaskData,
    model: nn.Module,
    optimizer: HessianFree,
    cases: tuple[Tensor, Tensor],
    previous_step: Vector | None,
) -> FrozenSystem:
    """Freezes the system of the coming step on these cases, the gradient's and the curvature's."""
    state = optimizer.state_dict()
    frozen = FrozenSystem(
        run=spec.config(),
        iteration=iteration,
        damping=optimizer.damping,
        met=optimizer.damping,
        model={name: block.clone() for name, block in model.state_dict().items()},
        optimizer={"state": dict(state["state"]), "param_groups": [dict(group) for group in state["param_groups"]]},
        gradient_cases=cases[0].clone(),
        curvature_cases=None if cases[0] is cases[1] else cases[1].clone(),
        previous_step=None if previous_step is None else list(previous_step),
        data=fingerprint(data),
        seen={},
        libraries={name: version(name) for name in ("hfbench", "torch")},
    )
    opened = OpenedSystem(frozen, spec, build_task(spec), data, model, optimizer)
    return replace(frozen, seen=opened.seen())


def observed(posed: StepSystem) -> dict[str, Any]:
    """Numbers by which a replay is recognised as the same."""
    digest = hashlib.sha256()
    for block in posed.system.gradient:
        digest.update(block.contiguous().cpu().numpy().tobytes())
    return {"objective": posed.f_0, "gradient_norm": posed.evidence["gradient_norm"], "gradient": digest.hexdigest()}


def fingerprint(data: TaskData) -> dict[str, Any]:
    """A digest of all cases, and sums that recognise the same data if rounding changes the digest."""
    digest, sums = hashlib.sha256(), list[float]()
    for split in (data.train, data.validation, data.test):
        tensors = [split.inputs] if split.targets is split.inputs else [split.inputs, split.targets]
        for tensor in tensors:
            tensor = tensor.float() if tensor.is_floating_point() else tensor
            digest.update(tensor.contiguous().cpu().numpy().tobytes())
            wide = tensor.double()
            sums += [float(len(split)), float(wide.sum()), float(wide.square().sum())]
    return {"sha256": digest.hexdigest(), "sums": sums}


def _check_data(frozen: FrozenSystem, data: TaskData) -> None:
    known, found = frozen.data, fingerprint(data)
    close = len(known["sums"]) == len(found["sums"]) and all(
        math.isclose(a, b, rel_tol=ROUNDING, abs_tol=ROUNDING)
        for a, b in zip(known["sums"], found["sums"], strict=False)
    )
    if known["sha256"] != found["sha256"] and not close:
        raise StoreError(
            f"the system {frozen.name} must be opened with the data that it was captured with, but the data of task "
            f"{quoted(frozen.run['task'])} differ here: another version of the task or of its files."
        )
    try:
        check_cases((frozen.gradient_cases, frozen.curvature_cases), len(data.train))
    except ValueError as error:
        raise StoreError(f"the system {frozen.name} must be one of its data, but {error}.") from error


def _check_seen(frozen: FrozenSystem, found: Mapping[str, Any]) -> None:
    """Objective and gradient are those that the run met, to what another precision or machine may change."""
    for name in ("objective", "gradient_norm"):
        if not math.isclose(frozen.seen[name], found[name], rel_tol=SEEN):
            raise StoreError(
                f"the system {frozen.name} must have the {name} that its run met, {frozen.seen[name]:.6g}, but has "
                f"{found[name]:.6g}: the file was changed, or the task's code is another version. Capture it again."
            )


def _load(frozen: FrozenSystem, model: nn.Module, optimizer: HessianFree, keeps_preconditioner: bool) -> None:
    groups = [dict(group) for group in frozen.optimizer["param_groups"]]
    if not keeps_preconditioner:
        groups[0].pop("preconditioner", None)  # another's
    groups[0]["damping"] = frozen.damping
    try:
        check_weights(frozen.model, model)
        model.load_state_dict(frozen.model)
    except (ValueError, RuntimeError) as error:
        raise StoreError(
            f"the system {frozen.name} must be opened with the model that it was captured with, but the model of task "
            f"{quoted(frozen.run['task'])} differs here: {printable_line(str(error))}."
        ) from error
    try:
        optimizer.load_state_dict({"state": frozen.optimizer["state"], "param_groups": groups})
    except ConfigError as error:
        raise StoreError(
            f"the system {frozen.name} must be opened with the optimiser that it was captured with, but it is another "
            f"here: {printable_line(str(error), 600)}"
        ) from error
