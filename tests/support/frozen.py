"""A frozen system of the tiny study, and its judge."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from hfbench.probe.freeze import frozen_systems
from hfbench.probe.frozen_system import FrozenSystem
from hfbench.probe.judge import Judge
from support.tiny_study import specs, tiny


@cache
def frozen(method: str = "hf") -> FrozenSystem:
    folder = Path(tempfile.mkdtemp(prefix="hfbench-probe-"))
    return next(frozen_systems(specs(tiny(folder, "study.stop_at_target=false"))[method, 0], [3]))


@cache
def judge(factor: float = 1.0) -> Judge:
    made = Judge(frozen().damped(factor))
    made.solve_exactly(2000)
    return made
