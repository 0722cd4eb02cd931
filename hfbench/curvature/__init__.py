"""A model linearised at a batch: products with J, Jᵀ and G, per-case moments, work counted."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hfbench.curvature.checked_linearisation import linearize
    from hfbench.curvature.linearisation import Linearisation

PLACES = {"Linearisation": "linearisation", "linearize": "checked_linearisation"}
__all__ = ["Linearisation", "linearize"]


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module 'hfbench.curvature' has no attribute {name!r}")
    return getattr(importlib.import_module(f"hfbench.curvature.{PLACES[name]}"), name)
