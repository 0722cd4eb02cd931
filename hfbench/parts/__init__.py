"""Interchangeable parts: protocols, hyper-parameters, registry, families and plugin files.

Plugins import the names below from here. Each is loaded at its first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hfbench.curvature.linearisation import Linearisation
    from hfbench.linalg.vector import Shift, Vector
    from hfbench.parts.batch_sizes import cases
    from hfbench.parts.data_files import DataFile
    from hfbench.parts.hyperparameters import Choice, Integers, Linear, Log, Within, part
    from hfbench.parts.protocols import (
        BatchPlan,
        Breakdown,
        BuiltPreconditioner,
        Evidence,
        Horizon,
        PreconditionerState,
        Split,
        Stop,
        System,
        TaskData,
    )
    from hfbench.parts.shown_outputs import Field
    from hfbench.parts.span import Span

__all__ = [
    "BatchPlan",
    "Breakdown",
    "BuiltPreconditioner",
    "Choice",
    "DataFile",
    "Evidence",
    "Field",
    "Horizon",
    "Integers",
    "Linear",
    "Linearisation",
    "Log",
    "PreconditionerState",
    "Shift",
    "Span",
    "Split",
    "Stop",
    "System",
    "TaskData",
    "Vector",
    "Within",
    "cases",
    "part",
]

_HOMES = {
    "hfbench.curvature.linearisation": ("Linearisation",),
    "hfbench.linalg.vector": ("Shift", "Vector"),
    "hfbench.parts.batch_sizes": ("cases",),
    "hfbench.parts.data_files": ("DataFile",),
    "hfbench.parts.hyperparameters": ("Choice", "Integers", "Linear", "Log", "Within", "part"),
    "hfbench.parts.protocols": (
        *(
            "BatchPlan",
            "Breakdown",
            "Evidence",
            "Horizon",
            "BuiltPreconditioner",
            "PreconditionerState",
            "Split",
            "Stop",
            "System",
            "TaskData",
        ),
    ),
    "hfbench.parts.shown_outputs": ("Field",),
    "hfbench.parts.span": ("Span",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'hfbench.parts' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
