"""A plugin file with a solver that works, the study that compares it, and forgetting of what a test made known."""

from __future__ import annotations

import sys
from pathlib import Path

from hfbench import registry
from hfbench.config.load import load_study
from hfbench.config.study import Study
from support.tiny_study import TEXT

PART = """
from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Annotated, Any

from hfbench import registry
from hfbench.parts.hyperparameters import Within, part


@dataclass(frozen=True)
class State:
    k: int
    x: Any
    q: float
    relative_residual: float
    products: float
    breakdown: None = None


@part
class Steepest:
    '''Steepest descent.'''

    share: Annotated[float, Within("(0, 1]"), "of the best step"] = 1.0

    def iterates(self, system, x0, preconditioner):
        x = system.gradient.zeros_like() if x0 is None else x0
        norm = system.gradient.norm()
        r = -system.gradient - system.multiply(x)
        for k in count():
            yield State(k, x, -0.5 * (r - system.gradient).dot(x), r.norm() / norm, k + 1)
            Ar = system.multiply(r)
            alpha = self.share * r.dot(r) / r.dot(Ar)
            x, r = x.add(r, alpha), r.add(Ar, -alpha)
"""
ADD = "\n\nregistry.add('solver', 'steepest', Steepest)\n"
PLUGIN = PART + ADD
LINE = PART.count("\n")  # the last one of the part

METHOD = """
[methods.steepest]
solver = { use = "steepest", share = 0.9 }
preconditioner = "identity"
scheduler = "fixed"
"""


def fresh() -> None:
    """As a new process: no part was added and no file loaded."""
    registry.forget()
    registry.skipped.clear()
    for name in [one for one in sys.modules if one.startswith("hfbench_plugin_")]:
        del sys.modules[name]


def study_with(folder: Path, extra: str = METHOD, plugin_files: tuple[Path, ...] = ()) -> Study:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "tiny.toml"
    file.write_text(TEXT + extra)
    return load_study(str(file), plugin_files=plugin_files)
