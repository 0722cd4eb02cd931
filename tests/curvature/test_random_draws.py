"""Draws of a model are told from those of other threads, and undone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.nn import functional

from hfbench import HessianFree
from hfbench.curvature.random_draws import draws_undone
from hfbench.errors import ConfigError

CPU = torch.device("cpu")


@contextmanager
def another_thread_that_draws() -> Iterator[list[int]]:
    """Counts its draws."""
    drawn, stop = [0], threading.Event()

    def draw() -> None:
        while not stop.is_set():
            torch.rand(())
            drawn[0] += 1

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        yield drawn
    finally:
        stop.set()
        thread.join()


def test_draws_are_noticed_and_undone() -> None:
    before = torch.get_rng_state()
    with draws_undone(CPU) as draws:
        torch.randn(3)
    assert draws.found
    assert torch.equal(torch.get_rng_state(), before)
    with draws_undone(CPU) as draws:
        functional.dropout(torch.ones(3), 0.0)
        torch.randn(3, generator=torch.Generator().manual_seed(0))
    assert not draws.found


def test_another_threads_draws_are_not_the_models() -> None:
    """Neither is the model refused for them, nor are they undone."""
    x, t = torch.randn(20, 4), torch.randn(20, 2)
    with another_thread_that_draws() as drawn:
        for seed in range(10):
            torch.manual_seed(seed)
            model = nn.Sequential(nn.Linear(4, 3), nn.PReLU(), nn.Linear(3, 2))
            HessianFree(model, "least-squares").step(x, t)
    assert drawn[0] > 0
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with draws_undone(CPU):
        pass
    assert torch.equal(torch.rand(3), expected)


def test_a_model_that_draws_is_refused_beside_another_thread() -> None:
    class Seldom(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * (torch.rand(()) > -1)

    with another_thread_that_draws(), pytest.raises(ConfigError, match="draws random numbers"):
        HessianFree(Seldom(4, 2), "least-squares").step(torch.randn(20, 4), torch.randn(20, 2))
