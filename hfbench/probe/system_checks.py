"""Checks of a frozen system where it is read, before anything in it is used.

A file with a correct checksum may still be anybody's. Each field must have its type, shape and range, the names must be
such as may be part of a file's name, and the run must be one that a study file could ask for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hfbench.config.devices import check_device
from hfbench.config.methods import Method, MethodTable, resolve
from hfbench.messages import printable_line, quoted
from hfbench.parts.hyperparameters import hyperparameters
from hfbench.records.validation import (
    CONFIG,
    COUNT,
    LARGEST,
    PART,
    SWITCHES,
    TEXT,
    VERSIONS,
    Kind,
    check_config,
)
from hfbench.runs.build import DTYPES

LONGEST_TEXT = 200  # characters of a name, a version or a setting
HEXADECIMAL = re.compile(r"[0-9a-f]{64}")
SPLITS = 3  # of a task's data; each has three sums for its inputs, and three for targets that are others

# ---------------------------------------------------------------- kinds of values


def _is_float(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _is_indices(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.dtype is torch.int64
        and value.dim() == 1
        and len(value) > 0
        and bool((value >= 0).all())
    )


def _is_block(value: Any) -> bool:
    """True for a tensor of finite floating-point numbers."""
    return isinstance(value, Tensor) and value.is_floating_point() and bool(torch.isfinite(value).all())


def _is_values(value: Any) -> bool:
    """True for a finite or whole-numbered tensor, as a model's parameters and buffers are."""
    return isinstance(value, Tensor) and not value.is_complex() and bool(torch.isfinite(value).all())


def _is_list(value: Any, holds: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(holds, value))


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) and _is_values(value[name]) for name in value)


def _maybe(kind: Kind) -> Kind:
    words, holds = kind
    return f"{words} or null", lambda value: value is None or holds(value)


FROM_ONE: Kind = ("a whole number from 1", lambda value: COUNT[1](value) and value >= 1)
DAMPING: Kind = ("a number above 0", lambda value: _is_float(value) and 0 < value <= LARGEST)
FLOAT: Kind = ("a finite number", _is_float)
DIGEST: Kind = (
    "a sha256 of 64 hexadecimal digits",
    lambda value: isinstance(value, str) and HEXADECIMAL.fullmatch(value) is not None,
)
INDICES: Kind = ("the numbers of one case or more, int64 and from 0", _is_indices)
BLOCKS: Kind = ("a list of tensors of finite numbers", lambda value: _is_list(value, _is_block))
NAMED: Kind = ("tensors of finite numbers by name", _is_named)
TABLE: Kind = ("a table", lambda value: isinstance(value, dict))
SUMS: Kind = (
    "three finite sums for each tensor of the data",
    lambda value: _is_list(value, _is_float) and len(value) in range(3 * SPLITS, 6 * SPLITS + 1, 3),
)
SHAPES: Kind = (
    "a list of shapes",
    lambda value: _is_list(value, lambda shape: _is_list(shape, COUNT[1])),
)
GENERATOR: Kind = (
    "the bytes of a random generator's state",
    lambda value: isinstance(value, Tensor) and value.dtype is torch.uint8 and value.dim() == 1,
)

FIELDS: Mapping[str, Kind] = {
    "run": TABLE, "iteration": FROM_ONE, "damping": DAMPING, "met": DAMPING, "model": NAMED, "optimizer": TABLE,
    "gradient_cases": INDICES, "curvature_cases": _maybe(INDICES), "previous_step": _maybe(BLOCKS), "data": TABLE,
    "seen": TABLE, "libraries": VERSIONS,
}  # fmt: skip
DATA: Mapping[str, Kind] = {"sha256": DIGEST, "sums": SUMS}
SEEN: Mapping[str, Kind] = {"objective": FLOAT, "gradient_norm": FLOAT, "gradient": DIGEST}
OPTIMIZER: Mapping[str, Kind] = {
    "state": TABLE,
    "param_groups": ("a list of one table", lambda value: _is_list(value, TABLE[1]) and len(value) == 1),
}
GROUP: Mapping[str, Kind] = {
    "damping": DAMPING, "iteration": COUNT, "generator": GENERATOR, "shapes": SHAPES,
    "params": ("a list of whole numbers", lambda value: _is_list(value, COUNT[1])), "preconditioner": TABLE,
}  # fmt: skip
RUN: Mapping[str, Kind] = {
    "precision": (f"one of {', '.join(DTYPES)}", lambda value: isinstance(value, str) and value in DTYPES),
    "device": TEXT, "stop_at_target": ("true or false", lambda value: isinstance(value, bool)), "files": VERSIONS,
    "follows": TEXT,
}  # fmt: skip
METHOD: Mapping[str, Kind] = {
    "optimizer": ("null, since a baseline has no systems", lambda value: value is None),
    "solver": PART, "preconditioner": PART, "scheduler": _maybe(PART), "batches_of": _maybe(TEXT),
    "rules": ("a list of parts", lambda value: _is_list(value, PART[1])), "globalization": SWITCHES,
    "right_hand_side": TEXT, "max_inner": FROM_ONE, "chunk": _maybe(FROM_ONE), "max_bytes": _maybe(FROM_ONE),
    "layout": TEXT, "precision": TEXT, "gradient_precision": TEXT, "stream": COUNT,
}  # fmt: skip


# ---------------------------------------------------------------- a system as it is read


def check_system(values: Any) -> None:
    """Raises ValueError, which says what must hold, unless these are the fields of a frozen system."""
    _check_fields(values, FIELDS, "its fields")
    _check_texts(values, "it")
    _check_run(values["run"])
    _check_fields(values["data"], DATA, "data")
    _check_fields(values["seen"], SEEN, "seen")
    _check_state(values)


def _check_run(run: Mapping[str, Any]) -> None:
    check_config(run, "its run")
    _check_fields({**_LATE, **{name: run[name] for name in run if name not in CONFIG}}, RUN, "its run")
    check_device(run.get("device", "cpu"))
    method = {"gradient_precision": "parameters", **run["method"]}
    _check_fields({name: method[name] for name in method if name != "name"}, METHOD, "its run: method")


_LATE: Mapping[str, Any] = {  # settings of a run that have a default
    "precision": "float32", "device": "cpu", "stop_at_target": True, "files": {}, "follows": "",
}  # fmt: skip


def _check_state(values: Mapping[str, Any]) -> None:
    """The optimiser's state is that before the system's step, with blocks of the parameters' shapes."""
    _check_fields(values["optimizer"], OPTIMIZER, "optimizer")
    group, state = values["optimizer"]["param_groups"][0], values["optimizer"]["state"]
    _check_fields({"preconditioner": {}, **group}, GROUP, "optimizer")
    shapes, params = group["shapes"], group["params"]
    if params != list(range(len(shapes))):
        raise ValueError(f"optimizer: params must count the {len(shapes)} shapes, but is {quoted(params)}")
    if group["iteration"] != values["iteration"] - 1 or group["damping"] != values["met"]:
        raise ValueError(
            f"optimizer: iteration and damping must be {values['iteration'] - 1} and {values['met']:g}, as before the "
            f"system's step, but are {group['iteration']} and {group['damping']:g}"
        )
    if state and not (set(state) == set(params) and all(_is_warm_start(entry) for entry in state.values())):
        raise ValueError("optimizer: state must be empty, or have the warm start of each parameter and nothing else")
    warm_start = [state[index]["warm_start"] for index in params] if state else None
    for name, blocks in (("warm start", warm_start), ("previous step", values["previous_step"])):
        if blocks is not None and [list(block.shape) for block in blocks] != shapes:
            given = [list(block.shape) for block in blocks]
            raise ValueError(f"its {name} must have the shapes {quoted(shapes)}, but has {quoted(given)}")


def _is_warm_start(entry: Any) -> bool:
    return isinstance(entry, dict) and set(entry) == {"warm_start"} and _is_block(entry["warm_start"])


def _check_fields(values: Any, schema: Mapping[str, Kind], where: str) -> None:
    """The values are those of the schema, no more and no fewer."""
    names = set(values) if isinstance(values, dict) else set[Any]()
    if names != set(schema):
        missing, unknown = sorted(set(schema) - names), sorted(map(quoted, names - set(schema)))
        said = " and ".join(
            f"{words} {printable_line(', '.join(some))}"
            for words, some in (("without", missing), ("with", unknown))
            if some
        )
        raise ValueError(f"{where} must be {', '.join(schema)}, but are {said}")
    for name, (words, holds) in schema.items():
        if not holds(values[name]):
            raise ValueError(f"{where}: {name} must be {words}, but is {_shown(values[name])}")


def _shown(value: Any) -> str:
    """The value in a message; a tensor by its type and shape, since its numbers say little."""
    if isinstance(value, Tensor):
        return f"a tensor of {value.dtype} and shape {quoted(tuple(value.shape))}"
    return quoted(value)


def _check_texts(value: Any, where: str) -> None:
    """Every text is short, and printable: it may end up on a terminal, in a figure or in a table."""
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT or not value.isprintable():
            raise ValueError(
                f"{where} must hold printable texts of at most {LONGEST_TEXT} characters, but holds {quoted(value)}"
            )
    elif isinstance(value, dict):
        for name, entry in value.items():
            _check_texts(name, where)
            _check_texts(entry, where)
    elif isinstance(value, list | tuple):
        for entry in value:
            _check_texts(entry, where)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{where} must hold whole numbers of 64 bits, but holds {quoted(value)}")
    elif value is not None and not isinstance(value, int | float | Tensor):
        raise ValueError(f"{where} must hold tensors and plain data, but holds {quoted(type(value).__name__)}")


# ---------------------------------------------------------------- a system as it is opened


def check_method(method: Method) -> None:
    """Raises ConfigError unless a study file could ask for this method: the same ranges hold for every setting.

    The batches have no part in a system, so that their scheduler need not be known here.
    """
    names = {setting.name for setting in hyperparameters(MethodTable)} - {"scheduler", "batches_of"}
    given = {name: value for name in names if (value := getattr(method, name)) is not None}
    resolve(method.name, {**given, "rules": list(method.rules), "batches_of": method.name})


def check_cases(cases: Sequence[Tensor | None], total: int) -> None:
    """Raises ValueError if a case is none of the `total` training cases."""
    for indices in cases:
        if indices is not None and int(indices.max()) >= total:
            raise ValueError(f"its cases must be among the {total} training cases, but one is {int(indices.max())}")


def check_weights(frozen: Mapping[str, Tensor], model: nn.Module) -> None:
    """Raises ValueError unless the model has tensors of the same names, shapes and kinds of numbers."""
    own = model.state_dict()
    for name in {**own, **frozen}:
        if name not in own or name not in frozen:
            raise ValueError(f"{quoted(name)} is {'unknown here' if name in frozen else 'missing'}")
        there, here = frozen[name], own[name]
        if there.shape != here.shape or there.is_floating_point() != here.is_floating_point():
            raise ValueError(f"{quoted(name)} is {_shown(there)} there, and {_shown(here)} here")
