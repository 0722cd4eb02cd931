"""Frozen systems that somebody changed and sealed anew: one field at a time by name, or at random from a seed."""

from __future__ import annotations

import copy
import hashlib
import io
import random
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch

from hfbench.probe.frozen_system import MAGIC, FrozenSystem
from support.mutations import INF, NAN, PLAIN, mutate, spoilt

Values = dict[str, Any]
Change = Callable[[Values], object]


def values_of(frozen: FrozenSystem) -> Values:
    """The fields of a system, to be changed."""
    return copy.deepcopy({field.name: getattr(frozen, field.name) for field in fields(frozen)})


def payload_of(values: Any) -> bytes:
    file = io.BytesIO()
    torch.save(values, file)
    return file.getvalue()


def sealed(payload: bytes) -> bytes:
    """The bytes of a file with this payload and its correct checksum."""
    return MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload


def changed(frozen: FrozenSystem, change: Change) -> bytes:
    """The bytes of a file with a changed system and a correct checksum."""
    values = values_of(frozen)
    change(values)
    return sealed(payload_of(values))


def put(*path: Any, value: Any) -> Change:
    """Sets the entry at a path of keys."""

    def change(values: Any) -> None:
        for key in path[:-1]:
            values = values[key]
        values[path[-1]] = value

    return change


def drop(*path: Any) -> Change:
    """Removes the entry at a path of keys."""

    def change(values: Any) -> None:
        for key in path[:-1]:
            values = values[key]
        del values[path[-1]]

    return change


# ---------------------------------------------------------------- one field at a time

GROUP = ("optimizer", "param_groups", 0)
FIELDS = (
    *("run", "iteration", "damping", "met", "model", "optimizer", "gradient_cases", "curvature_cases"),
    *("previous_step", "data", "seen", "libraries"),
)
ESCAPES = {
    "climbs": "/../../../x/y", "is absolute": "/tmp/x", "is above": "..", "is empty": "", "has a NUL": "a\0b",
    "is long": "n" * 5000, "has a slash": "a/b", "clears the screen": "\x1b[2J", "is no text": 5, "has a break": "a\nb",
    "is a surrogate": "\ud800", "has a drive": "C:\\x",
}  # fmt: skip
KEYS = {
    "run": ("task", "task_settings", "method", "seed", "budget", "target"),
    "data": ("sha256", "sums"),
    "seen": ("objective", "gradient_norm", "gradient"),
    "optimizer": ("state", "param_groups"),
}
OF_GROUP = ("damping", "iteration", "generator", "shapes", "params")
OUT_OF_RANGE = (0.0, -1.0, NAN, INF, 1e305)
OF_METHOD = ("optimizer", "solver", "preconditioner", "rules", "globalization", "max_inner", "layout", "precision")

CHANGES: dict[str, Change] = {
    **{f"without {name}": drop(name) for name in FIELDS},
    **{f"{name} is none of its kind": put(name, value=value) for name, value in {
        "run": 5, "iteration": "1", "damping": None, "met": [1.0], "model": [], "optimizer": (), "data": 1,
        "seen": None, "gradient_cases": [1, 2], "curvature_cases": 3, "previous_step": 0.0, "libraries": {"torch": 2},
    }.items()},
    **{f"{key}: without {name}": drop(key, name) for key, names in KEYS.items() for name in names},
    **{f"method: without {name}": drop("run", "method", name) for name in OF_METHOD},
    **{f"group: without {name}": drop(*GROUP, name) for name in OF_GROUP},
    **{f"the method's name {words}": put("run", "method", "name", value=name) for words, name in ESCAPES.items()},
    **{f"the task's name {words}": put("run", "task", value=name) for words, name in ESCAPES.items()},
    "a field too many": put("more", value=1),
    "a setting of the run too many": put("run", "more", value=1),
    "a setting of the method too many": put("run", "method", "more", value=1),
    "iteration 0": put("iteration", value=0),
    "iteration below 0": put("iteration", value=-3),
    "iteration true": put("iteration", value=True),
    "iteration NaN": put("iteration", value=NAN),
    "iteration 1e30": put("iteration", value=10**30),
    "iteration another": put("iteration", value=7),
    "the state's iteration NaN": put(*GROUP, "iteration", value=NAN),
    "the state's iteration another": put(*GROUP, "iteration", value=99),
    "the state's damping another": put(*GROUP, "damping", value=1.0),
    **{f"{name} {value}": put(name, value=value) for name in ("met", "damping") for value in OUT_OF_RANGE},
    "precision unknown": put("run", "precision", value="float16"),
    "precision a list": put("run", "precision", value=[]),
    "device unknown": put("run", "device", value="meta"),
    "products unknown": put("run", "method", "precision", value="float1"),
    "layout a list": put("run", "method", "layout", value=[]),
    "max_inner endless": put("run", "method", "max_inner", value=10**18),
    "max_inner 0": put("run", "method", "max_inner", value=0),
    "max_inner beyond 64 bits": put("run", "method", "max_inner", value=10**5000),
    "chunk 0": put("run", "method", "chunk", value=0),
    "chunk a text": put("run", "method", "chunk", value="1"),
    "a baseline": put("run", "method", "optimizer", value={"use": "adam"}),
    "solver unknown": put("run", "method", "solver", value={"use": "x" * 5000}),
    "solver with another setting": put("run", "method", "solver", value={"use": "cg", "x": 1}),
    "task unknown": put("run", "task_settings", "use", value="none"),
    "task with a setting of another type": put("run", "task_settings", "layers", value="x"),
    "task with other layers": put("run", "task_settings", "layers", value=[10, 4]),
    "task with a layer of any size": put("run", "task_settings", "layers", value=[10**12]),
    "task with layers without end": put("run", "task_settings", "layers", value=[4] * 100_000),
    "task with layers of no size": put("run", "task_settings", "layers", value=[0]),
    "globalization of text": put("run", "method", "globalization", "armijo", value="x"),
    "globalization unknown": put("run", "method", "globalization", "more", value=1.0),
    "rules of text": put("run", "method", "rules", value=["x"]),
    "rules no list": put("run", "method", "rules", value={}),
    "seed below 0": put("run", "seed", value=-1),
    "seed another": put("run", "seed", value=1),
    "a list that holds itself many times": lambda values: values["run"].update(budget=laughs(60)),
    "a list 100 deep": lambda values: values["run"].update(files={"a": nested(100)}),
    "a text of a megabyte": put("libraries", "torch", value="x" * 2**20),
    "a text that clears the screen": put("libraries", "torch", value="\x1b[2J"),
    **{f"cases {words}": put("gradient_cases", value=value) for words, value in {
        "float": torch.ones(3), "empty": torch.zeros(0, dtype=torch.int64), "a mask": torch.ones(200, dtype=torch.bool),
        "below 0": torch.tensor([-1, 3]), "beyond the data": torch.tensor([0, 200]), "int32": torch.ones(3).int(),
        "of two dimensions": torch.zeros(2, 2, dtype=torch.int64), "a number": torch.tensor(3),
        "endless": torch.zeros(1, dtype=torch.int64).expand(10**9), "complex": torch.ones(3, dtype=torch.complex64),
    }.items()},
    "curvature cases below 0": put("curvature_cases", value=torch.tensor([-1])),
    "curvature cases beyond the data": put("curvature_cases", value=torch.tensor([10**12])),
    "a previous step of another shape": put("previous_step", 0, value=torch.zeros(3, 3)),
    "a previous step too short": put("previous_step", value=[]),
    "a previous step of whole numbers": put("previous_step", 1, value=torch.zeros(12, dtype=torch.int64)),
    "a previous step not finite": put("previous_step", 1, value=torch.full((12,), NAN)),
    "a weight not finite": put("model", "0.bias", value=torch.full((12,), NAN)),
    "a weight of another shape": put("model", "0.bias", value=torch.zeros(13)),
    "a weight complex": put("model", "0.bias", value=torch.zeros(12, dtype=torch.complex64)),
    "a weight of whole numbers": put("model", "0.bias", value=torch.zeros(12, dtype=torch.int64)),
    "a weight sparse": put("model", "0.weight", value=torch.zeros(12, 256).to_sparse()),
    "a weight without data": put("model", "0.weight", value=torch.zeros(12, 256, device="meta")),
    "a weight of eight gigabytes": put("model", "0.weight", value=torch.zeros(1).expand(2**31)),
    "a weight of no stride": put("model", "0.bias", value=torch.zeros(1).expand(12)),
    "a weight too many": put("model", "more", value=torch.zeros(2)),
    "a weight too few": drop("model", "0.bias"),
    "a weight without a name": put("model", 3, value=torch.zeros(2)),
    "a weight changed": lambda values: values["model"]["0.bias"].add_(3.0),
    "a warm start of another shape": put("optimizer", "state", 0, "warm_start", value=torch.zeros(2)),
    "a warm start not finite": put("optimizer", "state", 1, "warm_start", value=torch.full((12,), INF)),
    "a warm start too few": drop("optimizer", "state", 0),
    "a warm start with more": put("optimizer", "state", 0, "more", value=1),
    "two groups": lambda values: values["optimizer"]["param_groups"].append({}),
    "no group": put("optimizer", "param_groups", value=[]),
    "a group that is none": put("optimizer", "param_groups", value=[3]),
    "shapes of another model": put(*GROUP, "shapes", value=[[2, 2]]),
    "shapes of text": put(*GROUP, "shapes", value="xy"),
    "params in another order": put(*GROUP, "params", value=[1, 0, 2, 3, 4, 5, 6, 7]),
    "a generator too short": put(*GROUP, "generator", value=torch.zeros(8, dtype=torch.uint8)),
    "a generator of zeros": put(*GROUP, "generator", value=torch.zeros(5056, dtype=torch.uint8)),
    "a generator of text": put(*GROUP, "generator", value="x"),
    "the state of another preconditioner": put(*GROUP, "preconditioner", value={"steps": 3}),
    "a preconditioner's state of text": put(*GROUP, "preconditioner", value="x"),
    "data's digest false": lambda values: values["data"].update(sha256="0" * 64, sums=[1.0] * 9),
    "data's digest short": put("data", "sha256", value="abc"),
    "data's digest in capitals": put("data", "sha256", value="A" * 64),
    "sums of text": put("data", "sums", value=["x"] * 9),
    "sums not finite": lambda values: values["data"].update(sha256="0" * 64, sums=[NAN] * 9),
    "sums too few": lambda values: values["data"].update(sha256="0" * 64, sums=[]),
    "seen objective another": put("seen", "objective", value=1.0),
    "seen objective NaN": put("seen", "objective", value=NAN),
    "seen norm another": put("seen", "gradient_norm", value=1.0),
    "seen digest short": put("seen", "gradient", value="0"),
    "seen with more": put("seen", "more", value=1),
}  # fmt: skip


def laughs(levels: int) -> list[Any]:
    """A list of lists of lists …: few bytes, 2**levels entries."""
    entry: list[Any] = [1]
    for _ in range(levels):
        entry = [entry, entry]
    return entry


def nested(levels: int) -> list[Any]:
    entry: list[Any] = []
    for _ in range(levels):
        entry = [entry]
    return entry


# ---------------------------------------------------------------- at random

VALUES: tuple[Any, ...] = (
    *PLAIN, "cg", "kfac", "float64", {"use": "cg"}, (), b"x",
    torch.zeros(0), torch.zeros(3), torch.tensor([1, 2]), torch.tensor(-1), torch.full((2,), NAN),
    torch.zeros(1).expand(10**9),
)  # fmt: skip


def mutated(frozen: FrozenSystem, seed: int) -> bytes:
    """A file with a system that was changed at random: its bytes, or one to three of its fields, sealed anew or not."""
    draw = random.Random(seed)
    kind = draw.choice(["bytes", "payload", "payload", "fields", "fields", "fields", "fields"])
    if kind == "fields":
        values = values_of(frozen)
        for _ in range(draw.randint(1, 3)):
            mutate(values, draw, VALUES)
        return sealed(payload_of(values))
    held = sealed(payload_of(values_of(frozen)))
    if kind == "bytes":
        return spoilt(held, draw)
    return sealed(spoilt(held[len(MAGIC) + 65 :], draw))
