"""The objective below a limit of memory is that of all cases at once."""

from __future__ import annotations

import pytest
from support.systems import inputs_for, network, targets_for

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
