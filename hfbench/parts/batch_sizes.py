"""Batch sizes: a fraction of the cases or a number of them."""

from __future__ import annotations

from hfbench.errors import ConfigError


def cases(size: float, total: int, setting: str) -> int:
    """Number of cases for a size, which is a fraction of the `total` training cases (up to 1) or a number (above 1).

    Raises ConfigError, with the name of the scheduler's setting, if the batch exceeds the training cases.
    """
    number = round(size * total) if size <= 1 else round(size)
    if number > total:
        raise ConfigError(f"{setting}: a batch must not be larger than the {total} training cases, but got {number}.")
    return max(number, 1)
