"""The bound on what a file expands to."""

import pytest

from hfbench.records.expansion import MB, check_expansion


def test_small_files_may_hold_much_and_large_ones_in_proportion() -> None:
    for size, held in ((64 * MB, 1), (200 * MB, MB), (2048 * MB, 100 * MB)):
        check_expansion(size, held)
        with pytest.raises(ValueError, match=f"more than the {size // MB} MiB allowed for a file of"):
            check_expansion(size + 1, held)
