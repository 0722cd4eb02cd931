"""Numbers of bytes as they are written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hfbench.errors import ConfigError
from hfbench.memory.byte_sizes import bytes_of, in_words


@pytest.mark.parametrize(
    ("given", "bytes_"),
    [
        (None, None), (1, 1), (4_000_000_000, 4_000_000_000), ("4GB", 4 * 10**9), ("512MiB", 512 * 2**20),
        ("1.5 gb", 1_500_000_000), (" 100 kB ", 100_000), ("2TiB", 2 * 2**40), ("300B", 300), ("0.5KiB", 512),
    ],
)  # fmt: skip
def test_numbers_and_units(given: Any, bytes_: int | None) -> None:
    assert bytes_of(given) == bytes_


@pytest.mark.parametrize("given", [0, -5, True, 1.5, "4", "GB", "4 gigs", "-4GB", "0B", "4GB5", "", [4]])
def test_others_are_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"methods\.a\.max_bytes: must be a number of bytes from 1, or .*GiB"):
        bytes_of(given, "methods.a.max_bytes")


def test_in_words() -> None:
    assert [in_words(n) for n in (12, 999, 1000, 1_234_567, 2.5e9)] == ["12 B", "999 B", "1 KB", "1.23 MB", "2.5 GB"]


@pytest.mark.parametrize("given", [np.int64(4096), torch.tensor(4096)])
def test_numbers_of_other_libraries(given: Any) -> None:
    found = bytes_of(given)
    assert (found, type(found)) == (4096, int)
