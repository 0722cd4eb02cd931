"""Pilot runs, begun for `--plan`: their rows, and the seconds they took beside the clock."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hfbench.config.run_spec import RunSpec
from hfbench.records.run_folder import RunFolder
from hfbench.records.shorter_runs import ShorterRuns
from hfbench.runs.attempt import attempt

Row = Mapping[str, Any]


@dataclass(frozen=True)
class PilotRun:
    """A run as far as it went."""

    key: str
    rows: Sequence[Row]
    ended: bool
    overhead: float  # seconds of the wall for each second on the clock: evaluation, records
    start: float = 0.0  # seconds of the wall before the first step: data
    error: str = ""
    state: int = 0  # bytes of its checkpoint
    weights: int = 0  # bytes that they take, where they are kept

    def wall(self, clock: float) -> float:
        """Seconds of the wall when so many are on the clock."""
        return self.start + self.overhead * clock


@dataclass(frozen=True)
class Sample:
    """Runs of one method on one task."""

    runs: Sequence[PilotRun]


def begin_pilots(
    runs: Sequence[tuple[str, RunSpec]],
    results: Path,
    study: str,
    data: str | None,
    seconds: float,
    turns: int,
    keep_weights: bool = False,
) -> Sample:
    """Begins the first runs, one a turn, for so many seconds each, then those likely to end in the rest."""
    begun: list[PilotRun] = []
    shorter = ShorterRuns(results)
    since = time.perf_counter()
    for key, spec in runs:
        begun.append(_begun(key, spec, results, study, data, seconds, shorter.of(spec), keep_weights))
        spent = time.perf_counter() - since
        ends = begun[-1].ended and spent * (1 + 1 / len(begun)) <= seconds
        if begun[-1].error or (len(begun) >= turns and not ends):
            break
    return Sample(begun)


def lost_pilots(runs: Sequence[tuple[str, RunSpec]], why: str) -> Sample:
    """In place of runs whose process ended before they did."""
    return Sample([PilotRun(runs[0][0], [], True, 1.0, error=why)])


def _begun(
    key: str,
    spec: RunSpec,
    results: Path,
    study: str,
    data: str | None,
    seconds: float,
    shorter: RunFolder | None,
    keep_weights: bool,
) -> PilotRun:
    folder = RunFolder(results, key)
    if folder.is_complete():
        return replace(_recorded(folder), weights=_weights(folder) if keep_weights else 0)
    before = _rows(folder) or (_rows(shorter) if shorter is not None else [])
    since = time.perf_counter()
    result = attempt(spec, folder, study, data, math.inf, seconds, shorter, keep_weights)
    wall = time.perf_counter() - since
    if result["outcome"] == "failed":
        return PilotRun(key, [], True, 1.0, error=result["error"])
    rows = _rows(folder)
    start = result.get("start", 0.0)
    clock = rows[-1]["seconds"] - (before[-1]["seconds"] if before else 0.0)
    over = _overhead(wall - start, clock)
    weights = _weights(folder) if keep_weights else 0
    return PilotRun(key, rows, result["outcome"] != "", over, start, "", folder.checkpoint_bytes(), weights)


def _recorded(folder: RunFolder) -> PilotRun:
    """A run that has ended before: its folder tells from when to when, unless it was interrupted or made elsewhere."""
    rows = _rows(folder)
    began, ended = ((folder.path / name).stat().st_mtime for name in ("config.json", "result.json"))
    over = _overhead(ended - began, rows[-1]["seconds"])
    return PilotRun(folder.key, rows, True, over, state=folder.checkpoint_bytes())


def _weights(folder: RunFolder) -> int:
    """Bytes of the weights of a run that has ended, or will."""
    if folder.has_weights():
        return folder.weights_path.stat().st_size
    return sum(tensor.nbytes for tensor in (folder.load_checkpoint() or {}).get("model", {}).values())


def _overhead(wall: float, clock: float) -> float:
    return max(wall / clock, 1.0) if clock > 0 else 1.0


def _rows(folder: RunFolder) -> list[Row]:
    if folder.is_complete():
        return list(folder.rows())
    return list((folder.load_checkpoint() or {}).get("rows", []))
