"""Results folder, study and data folder, which all runs of a study share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hfbench.records.run_folder import RunFolder

CHECKPOINT_EVERY = 4.0  # seconds; one takes 15 to 30 ms


@dataclass(frozen=True)
class ResultsFolder:
    """Settings that all jobs of a study share."""

    results: Path
    study: str
    data: str | None = None
    checkpoint_every: float = CHECKPOINT_EVERY
    keep_weights: bool = False

    def folder(self, key: str) -> RunFolder:
        return RunFolder(self.results, key)
