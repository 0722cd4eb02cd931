"""Frozen systems of some steps of a run."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from hfbench.probe.freeze import frozen_systems
from hfbench.probe.frozen_system import FrozenSystem
from support.tiny_study import specs, tiny

AT = (1, 2, 4)


@cache
def zoo(*overrides: str, method: str = "hf") -> tuple[FrozenSystem, ...]:
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="hfbench-zoo-"))
    return tuple(frozen_systems(specs(tiny(folder, "study.stop_at_target=false", *overrides))[method, 0], AT))
