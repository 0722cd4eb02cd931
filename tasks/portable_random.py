"""Random numbers of generated data: the same on every machine and in every version of NumPy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def uniform(count: int, seed: int) -> Floats:
    """`count` numbers in [0, 1): the 53 high bits of PCG64's raw words, which NumPy keeps the same in all versions."""
    words = np.asarray(np.random.PCG64(seed).random_raw(count))
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
