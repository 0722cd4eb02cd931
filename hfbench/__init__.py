"""hfbench: a pluggable benchmark of Hessian-free optimisers. Public names are imported on first use."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# Must be set before anything imports mlflow: its telemetry client starts with the import.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

if TYPE_CHECKING:
    from hfbench import registry
    from hfbench.curvature import linearize
    from hfbench.globalization import Globalization
    from hfbench.optimizer import HessianFree
    from hfbench.vector import Vector

    __version__: str

__all__ = ["Globalization", "HessianFree", "Vector", "__version__", "linearize", "registry"]

_HOMES = {
    "linearize": "hfbench.curvature",
    "HessianFree": "hfbench.optimizer",
    "Vector": "hfbench.vector",
    "Globalization": "hfbench.globalization",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name == "registry":
        return importlib.import_module("hfbench.registry")
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("hfbench")
    raise AttributeError(f"module 'hfbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
