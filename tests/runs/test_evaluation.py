"""Errors on a split, below a limit of memory as on all of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.systems import network

from hfbench.memory.allocations import Tally
from hfbench.memory.forecast import resident_bytes
from hfbench.parts import registry
from hfbench.parts.protocols import Split
from hfbench.runs.evaluation import examples, least_error, mean_error


def test_an_error_is_measured_below_a_limit() -> None:
    class Counting:
        def error(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return (outputs - targets).square().sum(1)

    model, x, task = network((5, 400, 3), 0), torch.randn(700, 5, dtype=torch.float64), Counting()
    split = Split(x, torch.zeros(700, 3, dtype=torch.float64))
    limit = resident_bytes(model, ()) + 200_000
    whole: Any = mean_error(model, task, split)  # type: ignore[arg-type]
    with Tally() as tally:
        assert mean_error(model, task, split, limit) == pytest.approx(whole, rel=1e-12)  # type: ignore[arg-type]
    assert tally.peak <= 200_000


def test_the_resolution_is_what_one_case_with_an_error_adds_to_the_mean() -> None:
    class Rate:
        def error(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return 100.0 * (targets > 0.5).float()

    model, x, task = network((5, 4, 3), 0), torch.randn(1500, 5, dtype=torch.float64), Rate()
    wrong = Split(x, (torch.arange(1500) == 1400).double())
    assert least_error(model, task, wrong) == mean_error(model, task, wrong) == 100.0 / 1500  # type: ignore[arg-type]
    assert least_error(model, task, wrong, resident_bytes(model, ()) + 50_000) == 100.0 / 1500  # type: ignore[arg-type]
    assert least_error(model, task, Split(x, torch.zeros(1500))) is None  # type: ignore[arg-type]


def test_a_field_is_all_test_cases_in_the_shape_of_their_grid() -> None:
    task: Any = registry.build("task", {"use": "burgers"}, "task")
    data = task.load(torch.Generator().manual_seed(0))
    model = task.model(torch.Generator().manual_seed(1))
    shown = examples(model, task, data.test)
    assert shown is not None
    with torch.no_grad():
        outputs = model(data.test.inputs).view(65, 65)
    # Case (i, j) is x_i, t_j: time runs across, x upward.
    torch.testing.assert_close(torch.from_numpy(shown["prediction"]), outputs)
    assert torch.equal(torch.from_numpy(shown["solution"]).flatten(), data.test.targets.flatten())
    assert shown["axes"].tolist() == ["t", "x"]
    assert shown["extent"].tolist() == [0, 1, -1, 1]
