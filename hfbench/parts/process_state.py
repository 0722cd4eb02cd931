"""State of a process that all runs share: torch's settings, and the definitions of what runs call.

A part that changes it changes the numbers of others under their own keys. It cannot be prevented in Python, but it can
be seen: `changes_since` names what a run, or the import of a plugin file, has changed.
"""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfbench.errors import SharedStateError

# Libraries whose functions the core calls, and classes whose methods it does.
LIBRARIES = (
    *("builtins", "math", "time", "random", "numpy", "numpy.linalg", "scipy.linalg"),
    *("torch", "torch.autograd", "torch.func", "torch.linalg", "torch.special", "torch.nn.functional", "torch.nn.init"),
)
IN_FULL = ("hfbench", "torch.optim", "pytorch_optimizer")  # packages that define what runs are made of
CLASSES = ("Tensor", "Generator", "nn.Module", "nn.Parameter", "nn.Linear", "optim.Optimizer")  # of torch
CONSTANT = (bool, int, float, str, bytes, tuple, frozenset, types.NoneType)
LISTED = 3  # changed definitions that are named


class Definition:
    """What a name stands for: the object, and the code that it runs if it is a function."""

    def __init__(self, value: object) -> None:
        self.value = value
        self.code: types.CodeType | None = getattr(value, "__code__", None)


@dataclass(frozen=True)
class ProcessState:
    """Settings by value, definitions by identity."""

    settings: Mapping[str, object]
    definitions: Mapping[str, Definition]


def process_state() -> ProcessState:
    """The state now; of libraries that are not loaded yet, nothing."""
    return ProcessState(dict(_settings()), dict(_definitions()))


_kept: dict[str, Definition] = {}


def keep_definitions() -> None:
    """Keeps the definitions of now as those with which each process forked from this one begins."""
    _kept.update(_definitions())


def state_at_begin() -> ProcessState:
    """The state now, with the definitions with which this process began if they were kept, which takes less time."""
    return ProcessState(dict(_settings()), _kept) if _kept else process_state()


def changes_since(before: ProcessState) -> list[str]:
    """A phrase for each setting that is no longer what it was, and for the first few definitions."""
    now = process_state()
    phrases = [
        f"{name} from {value} to {now.settings[name]}"
        for name, value in before.settings.items()
        if now.settings[name] != value
    ]
    replaced = [name for name, value in before.definitions.items() if _is_replaced(value, now.definitions.get(name))]
    replaced += _added(before.definitions, now.definitions)
    more = [f"{len(replaced) - LISTED} more"] if len(replaced) > LISTED else []
    return phrases + replaced[:LISTED] + more


def check_unchanged(before: ProcessState, what: str) -> None:
    """Raises SharedStateError, which names `what` has changed since, if it has changed anything."""
    if changes := changes_since(before):
        raise SharedStateError(
            f"{what} must leave alone what all runs share, but changed {', '.join(changes)}. Undo that before it ends, "
            "or do without: tensors can be made with a dtype and a device of their own."
        )


def _settings() -> Iterator[tuple[str, object]]:
    yield "the recursion limit", sys.getrecursionlimit()
    yield "the working folder", _working_folder()
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return
    yield "torch's default dtype", torch.get_default_dtype()
    yield "torch's default device", str(torch.get_default_device())
    yield "torch's gradient mode", torch.is_grad_enabled()
    yield "torch's inference mode", torch.is_inference_mode_enabled()
    yield "torch's anomaly detection", torch.is_anomaly_enabled()
    yield "torch's deterministic algorithms", torch.are_deterministic_algorithms_enabled()
    yield "torch's precision of matrix products", torch.get_float32_matmul_precision()
    yield "torch's number of threads", torch.get_num_threads()
    yield "torch's function modes", torch.overrides._get_current_function_mode_stack()
    yield "torch's dispatch modes", torch.utils._python_dispatch._get_current_dispatch_mode_stack()
    yield "torch's hooks of saved tensors", torch._C._autograd._top_saved_tensors_default_hooks(True)
    for device in ("cpu", "cuda"):
        autocast = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
        yield f"torch's autocast on {device} (enabled, dtype)", autocast
    for backend, names in {"mkldnn": ("enabled",), "cudnn": ("enabled", "benchmark", "deterministic")}.items():
        for name in names:
            yield f"torch.backends.{backend}.{name}", getattr(getattr(torch.backends, backend), name)
    for owner in ("torch.nn.modules.module", "torch.optim.optimizer"):  # the latter hides behind its package
        for name, hooks in vars(sys.modules[owner]).items():
            if name.startswith("_global_") and isinstance(hooks, dict):
                yield f"torch's {name[1:].replace('_', ' ')}", list(hooks.values())


def _working_folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "one that was deleted"


def _definitions() -> Iterator[tuple[str, Definition]]:
    for name, module in list(sys.modules.items()):
        in_full = name in IN_FULL or name.startswith(tuple(f"{package}." for package in IN_FULL))
        if in_full or name in LIBRARIES:
            yield from _definitions_of(module, name, in_full)
    if (torch := sys.modules.get("torch")) is not None:
        for path in CLASSES:
            cls: Any = torch
            for name in path.split("."):
                cls = getattr(cls, name)
            yield from _members(cls, f"torch.{path}")


def _definitions_of(module: Any, where: str, in_full: bool) -> Iterator[tuple[str, Definition]]:
    """Functions and classes of a module; in full, also the members of its classes, and constants."""
    for name, value in list(vars(module).items()):
        if in_full and isinstance(value, type) and value.__module__ == where:
            yield from _members(value, f"{where}.{name}")
        if callable(value) or (in_full and name.isupper()):
            yield f"{where}.{name}", Definition(value)
        if in_full and name.isupper() and isinstance(value, dict):
            for key, entry in value.items():
                yield f"{where}.{name}[{repr(key)}]", Definition(entry)


def _members(cls: type[Any], where: str) -> Iterator[tuple[str, Definition]]:
    for name, value in list(vars(cls).items()):
        if callable(value) or isinstance(value, property | classmethod | staticmethod):
            yield f"{where}.{name}", Definition(value)


def _added(before: Mapping[str, Definition], now: Mapping[str, Definition]) -> list[str]:
    """New names in modules and classes that were there: they hide a base class's, or Python's own."""
    owners = {_owner(name) for name in before}
    new = sorted(now.keys() - before.keys())
    return [name for name in new if _owner(name) in owners and not _is_by_torch(now[name].code)]


def _owner(name: str) -> str:
    return name.partition("[")[0].rpartition(".")[0]


def _is_replaced(before: Definition, now: Definition | None) -> bool:
    if now is None:
        return True
    if now.value is before.value:
        return now.code is not before.code
    if isinstance(before.value, CONSTANT) and type(before.value) is type(now.value) and before.value == now.value:
        return False
    return not _is_by_torch(now.code)


def _is_by_torch(code: types.CodeType | None) -> bool:
    """Whether the code is torch's own: its compiler and its optimisers wrap methods when they are first used."""
    file = getattr(sys.modules.get("torch"), "__file__", None)
    return code is not None and file is not None and Path(file).parent in Path(code.co_filename).parents
