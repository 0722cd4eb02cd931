"""Bounds: numbers of which only an interval is known, as the log ratio of two costs where a run was cut off."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bounds:
    """low <= x <= high for unknown x, shape (n,) each; ends may be infinite. What is low = high is known."""

    low: Array
    high: Array

    @classmethod
    def of(cls, x: Array) -> Bounds:
        """Bounds of numbers that are known."""
        return cls(x, x)

    @property
    def known(self) -> NDArray[np.bool_]:
        return np.asarray(self.low == self.high)

    @property
    def complete(self) -> bool:
        """Whether every number is known."""
        return bool(self.known.all())

    @property
    def finite(self) -> bool:
        """Whether every number is known and finite."""
        return self.complete and bool(np.isfinite(self.low).all())

    def shifted(self, by: float) -> Bounds:
        """Bounds of x + by."""
        return Bounds(self.low + by, self.high + by)

    def __neg__(self) -> Bounds:
        return Bounds(-self.high, -self.low)

    def __len__(self) -> int:
        return int(self.low.size)


def open_where_unknown(low: Array, high: Array) -> Bounds:
    """Bounds without an end where that is NaN, rounded to 12 digits so that ties are ties."""
    return Bounds(np.where(np.isnan(low), -math.inf, low).round(12), np.where(np.isnan(high), math.inf, high).round(12))


def nearest_to_zero(low: float, high: float) -> float:
    """The number in [low, high] nearest to 0; NaN where both signs, or none, are possible and it is no point."""
    if low == high:
        return low
    if low > 0:
        return low
    return high if high < 0 else math.nan
