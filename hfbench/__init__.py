"""hfbench: a pluggable benchmark of Hessian-free optimisers. Public names are imported on first use."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from hfbench import moved_imports

# Must be set before anything imports mlflow: its telemetry client starts with the import.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
moved_imports.install()

if TYPE_CHECKING:
    from hfbench.commands.results import results
    from hfbench.curvature.checked_linearisation import linearize
    from hfbench.hessian_free.globalization import Globalization
    from hfbench.hessian_free.optimizer import HessianFree
    from hfbench.hessian_free.residuals import ResidualFit, minimize_residual
    from hfbench.linalg.vector import Vector
    from hfbench.parts import registry

    __version__: str

__all__ = [
    "Globalization",
    "HessianFree",
    "ResidualFit",
    "Vector",
    "__version__",
    "linearize",
    "minimize_residual",
    "registry",
    "results",
]

_HOMES = {
    "results": "hfbench.commands.results",
    "linearize": "hfbench.curvature.checked_linearisation",
    "HessianFree": "hfbench.hessian_free.optimizer",
    "ResidualFit": "hfbench.hessian_free.residuals",
    "minimize_residual": "hfbench.hessian_free.residuals",
    "Vector": "hfbench.linalg.vector",
    "Globalization": "hfbench.hessian_free.globalization",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name == "registry":
        return importlib.import_module("hfbench.parts.registry")
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("hfbench")
    raise AttributeError(f"module 'hfbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
