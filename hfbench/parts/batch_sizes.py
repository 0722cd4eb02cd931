"""Batch sizes: a fraction of the cases or a number of them."""

from __future__ import annotations

from hfbench.errors import ConfigError


def cases(size: float, total: int, setting: str) -> int:
    """Number of cases for a size, which is a fraction of the `total` training cases (up to 1) or a number (from 2).

    Numbers are rounded. Raises ConfigError, with the name of the scheduler's setting, for a size between 1 and 2, which
    is neither, and if the batch exceeds the training cases.
    """
    if 1 < size < 2:
        raise ConfigError(f"{setting}: must be a fraction up to 1 or a number of cases from 2, but got {size:g}.")
    number = round(size * total) if size <= 1 else round(size)
    if number > total:
        raise ConfigError(f"{setting}: a batch must not be larger than the {total} training cases, but got {number}.")
    return max(number, 1)
