"""Models that do not fit into memory are refused before a byte of them is allocated."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hfbench.memory.construction import TooLargeError, WithinMemory


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(10**5, 10**9), "a tensor of 1000000000 x 100000 needs 400 TB, and .* are available"),
        (lambda: torch.zeros(2**40, dtype=torch.float64), "a tensor of 1099511627776 needs 8.8 TB"),
        (lambda: torch.randn(10**9, 2**40, generator=torch.Generator()), "needs 4.4e"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with WithinMemory(), pytest.raises(TooLargeError, match=message):
        make()


def test_what_fits_is_made_as_ever() -> None:
    made = []
    for guard in (WithinMemory(), torch.no_grad()):
        torch.manual_seed(3)
        with guard:
            made.append(nn.Sequential(nn.Linear(4, 3), nn.Conv1d(2, 2, 3)))
    for one, other in zip(made[0].parameters(), made[1].parameters(), strict=True):
        assert torch.equal(one, other)
