"""Study files: read, checked, and resolved into the runs of a study."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hfbench.config.load import load_study, shipped_studies
    from hfbench.config.study import Study

__all__ = ["Study", "load_study", "shipped_studies"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'hfbench.config' has no attribute {name!r}")
    return getattr(importlib.import_module("hfbench.config.load"), name)
