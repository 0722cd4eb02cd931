"""The objective below a limit of memory is that of all cases at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.systems import inputs_for, network, targets_for
from torch import nn

from hfbench.curvature.objective import objective
from hfbench.errors import ConfigError
from hfbench.memory.allocations import Tally
from hfbench.memory.forecast import resident_bytes


def test_objectives_below_a_limit_are_the_same() -> None:
    model, x = network((5, 30, 3), 0), inputs_for(300, 5, 1)
    t = targets_for("logistic", 300, 3, 2)
    whole = objective(model, "logistic", x, t, (0.1, 0.0, 0.1, 0.0))
    limit = resident_bytes(model, ()) + 10_000
    with Tally() as tally:
        below = objective(model, "logistic", x, t, (0.1, 0.0, 0.1, 0.0), max_bytes=limit)
    assert below == pytest.approx(whole, rel=1e-12)
    assert tally.peak <= 10_000 + 4096  # and the few cases that it was tried on
    with pytest.raises(ConfigError, match="max_bytes: must be at least"):
        objective(model, "logistic", x, t, max_bytes=1000)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"loss": nn.MSELoss()}, 'take loss="least-squares"'),
        ({"loss": "softmax"}, "targets: must have the shape|sum to 1|class indices"),
        ({"chunk": 2.5}, "chunk: must be a whole number"),
        ({"mu_D": 0.1}, "mu_D: must have one number for each of 4 parameters, or none, but got 0.1"),
        ({"mu_D": (0.1, 0.0)}, "mu_D: must have one number for each of 4 parameters"),
        ({"weights": [torch.ones(3, 4)]}, "weights: must map each trained parameter's name to a tensor"),
        ({"max_bytes": "4 gigs"}, "max_bytes: must be a number of bytes"),
        ({"inputs": [1.0]}, "inputs: must be one tensor"),
        ({"inputs": torch.ones(12, 4, dtype=torch.long)}, r"inputs: .*use inputs.to\(torch.float64\)"),
        ({"targets": torch.ones(11, 2)}, "equally many"),
        ({"targets": torch.ones(12, 2, dtype=torch.complex64)}, "targets: must be real"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], message: str) -> None:
    given = {"loss": "logistic", "inputs": inputs_for(12, 4, 1), "targets": targets_for("logistic", 12, 2, 2)} | changed
    with pytest.raises(ConfigError, match=message):
        objective(network((4, 3, 2), 0), **given)
