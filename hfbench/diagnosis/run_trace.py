"""Recorded run as the signatures read it: settings, result, and one row per outer iteration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hfbench.hessian_free.globalization import Globalization
from hfbench.records.run_folder import COMPLETE, RunFolder
from hfbench.statistics.bounds import Array

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Finding:
    """A failure signature that a run shows."""

    signature: str
    evidence: str  # in numbers
    remedy: str


@dataclass(frozen=True)
class Run:
    """`rows` begins with the first outer iteration."""

    name: str
    method: Mapping[str, Any]
    result: Mapping[str, Any]
    rows: pd.DataFrame

    @classmethod
    def of(cls, folder: RunFolder, name: str, method: Mapping[str, Any]) -> Run:
        """A run that has ended; one that failed has no rows. Raises StoreError where its files cannot be read."""
        import pandas as pd

        result = folder.result() or {}
        trace = folder.trace() if result.get("outcome") in COMPLETE else None
        rows = pd.DataFrame() if trace is None else trace.to_pandas(use_threads=False)
        return cls(name, method, result, rows.iloc[1:].reset_index(drop=True))

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> Array:
        """A column as float64, missing entries NaN; all of it where the trace has no such column."""
        if name not in self.rows:
            return np.full(len(self.rows), np.nan)
        return np.asarray(self.rows[name].astype(float), dtype=float)

    def has(self, name: str) -> bool:
        return bool(np.isfinite(self.column(name)).any())

    @property
    def is_baseline(self) -> bool:
        return self.method.get("optimizer") is not None

    @cached_property
    def globalization(self) -> Globalization:
        known = {name: value for name, value in self.method["globalization"].items() if hasattr(Globalization, name)}
        return Globalization(**known)

    @cached_property
    def total(self) -> float:
        """The training cases."""
        share = self.result.get("distinct")
        touched = self.column("distinct_cases")
        return float(touched[-1] / share) if share and len(touched) else float("nan")

    @cached_property
    def noise(self) -> Array:
        """E‖g_S - g‖² over ‖g_S‖², by each step's own estimate; NaN where it was not measured."""
        n = self.column("batch_gradient")
        rest = np.clip((self.total - n) / max(self.total - 1, 1), 0.0, 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.column("variance_l1") / n * rest / self.column("gradient_norm") ** 2)
