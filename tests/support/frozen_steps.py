"""Systems of some steps of a run of the tiny study."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from hfbench.probe.freeze import frozen_systems
from hfbench.probe.frozen_system import FrozenSystem
from support.tiny_study import specs, tiny


@cache
def zoo(*overrides: str) -> tuple[FrozenSystem, ...]:
    folder = Path(tempfile.mkdtemp(prefix="hfbench-probe-"))
    return tuple(frozen_systems(specs(tiny(folder, "study.stop_at_target=false", *overrides))["hf", 0], [2, 4]))
