"""Products replayed as CUDA graphs, and inner solves that wait for nothing, on a GPU; their rehearsals anywhere."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pytest
import torch
from support.gpu_chains import SIZES, direction, linearised
from support.systems import inputs_for, network, targets_for

from hfbench import HessianFree, registry
from hfbench.curvature import cuda_graphs
from hfbench.curvature.cuda_graphs import Replayed, capture_graph
from hfbench.inner_solve.system import GaussNewtonSystem
from hfbench.memory.allocations import Tally
from hfbench.solvers.preconditioners.diagonal import Diagonal

gpu = pytest.mark.gpu


@contextmanager
def refusing_to_wait() -> Iterator[None]:
    """PyTorch raises where it would make the host wait for the device."""
    with warnings.catch_warnings(action="ignore"):  # it says that it may miss some
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        with warnings.catch_warnings(action="ignore"):
            torch.cuda.set_sync_debug_mode("default")


def test_rehearsed_is_what_is_launched_and_the_memory_of_its_copies() -> None:
    """Recording is no part of it, so that every rehearsal makes the same tensors."""
    replayed, one = Replayed(), torch.arange(6.0)
    with Tally() as tally:
        found, live = [], []
        for _ in range(4):
            found.append(replayed(lambda given: [given[0] * 2, given[0][:1] + 1], [one]))
            live.append(tally.live)
    assert all(torch.equal(a, one * 2) and torch.equal(b, one[:1] + 1) for a, b in found)
    each, copies = 7 * 4, 6 * 4 + 7 * 4
    assert live == [each, 2 * each, 3 * each + copies, 4 * each + copies]
    assert replayed.graph is None


@gpu
def test_who_waits_is_found_out() -> None:
    number = torch.ones((), device="cuda")
    with refusing_to_wait(), pytest.raises(RuntimeError, match="synchronizing"):
        float(number)
    assert float(number) == 1


@gpu
@pytest.mark.parametrize("layout", ["structured", "flat"])
@pytest.mark.parametrize("solver", ["cg", "lsmr", "lsqr", "minres"])
def test_an_inner_solve_waits_for_nothing(solver: str, layout: str) -> None:
    at = linearised(layout=layout)
    system = GaussNewtonSystem(at, at.gradient, 0.1, (0.0,) * len(at.blocks), shares_cases=True)
    M = Diagonal(at.layout.pack([torch.ones_like(b) for b in at.blocks]), system.shift, 0.75)
    states = registry.build("solver", solver).iterates(system, None, M)
    for _ in islice(states, 4):  # the start, and what is recorded
        pass
    with refusing_to_wait():
        found = [(state.q, state.relative_residual, state.x) for state in islice(states, 8)]
    assert all(isinstance(q, float) and isinstance(r, float) for q, r, _ in found)
    q = [one[0] for one in found]
    assert q == sorted(q, reverse=True)
    x = found[-1][2]
    exact = system.gradient.dot(x) + 0.5 * x.dot(system.multiply(x))
    assert exact == pytest.approx(found[-1][0], rel=1e-9)


@gpu
@pytest.mark.parametrize("preconditioner", ["identity", "martens", "kfac"])
@pytest.mark.parametrize("layout", ["structured", "flat"])
@pytest.mark.parametrize("solver", ["cg", "lsmr", "lsqr", "minres"])
def test_an_iteration_is_one_graph(
    solver: str, layout: str, preconditioner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded once in a solve, and its iterates are those of iterations launched kernel by kernel."""
    recorded: list[Any] = []
    monkeypatch.setattr(cuda_graphs, "capture_graph", lambda *given: recorded.append(given) or capture_graph(*given))
    found = []
    for replayable in (True, False):
        monkeypatch.setattr(GaussNewtonSystem, "replayable", replayable)
        at = linearised(layout=layout)
        system = GaussNewtonSystem(at, at.gradient, 0.1, (0.0,) * len(at.blocks), shares_cases=True)
        M = registry.build("preconditioner", preconditioner).build(at, system.shift, torch.Generator().manual_seed(3))
        x0 = at.layout.pack([torch.full_like(b, 0.01) for b in at.blocks])
        states = list(islice(registry.build("solver", solver).iterates(system, x0, M), 13))
        found.append([(state.q, state.relative_residual, state.x) for state in states])
        if replayable:
            assert len(recorded) == 1
    for (q, residual, x), (q_, residual_, x_) in zip(*found, strict=True):
        assert (q, residual) == (pytest.approx(q_, rel=1e-10), pytest.approx(residual_, rel=1e-8))
        torch.testing.assert_close(list(x), list(x_), rtol=1e-8, atol=1e-10)


@gpu
@pytest.mark.parametrize("preconditioner", ["martens", "chapelle-erhan", "kfac"])
@pytest.mark.parametrize("layout", ["structured", "flat"])
@pytest.mark.parametrize("solver", ["cg", "lsmr", "lsqr", "minres"])
def test_a_trajectory_on_a_gpu_is_that_on_the_cpu(solver: str, layout: str, preconditioner: str) -> None:
    x, t = inputs_for(64, 20, 1), targets_for("logistic", 64, 10, 2)
    settings: dict[str, Any] = {"solver": solver, "preconditioner": preconditioner, "layout": layout}
    home, there = network(SIZES, 0), network(SIZES, 0).cuda()
    a, b = (HessianFree(m, globalization={"initial_damping": 0.1}, **settings) for m in (home, there))
    for _ in range(5):
        mine, its = a.step(x, t), b.step(x.cuda(), t.cuda())
        assert (mine.inner_iterations, mine.chosen_iterate) == (its.inner_iterations, its.chosen_iterate)
        assert its.objective_after == pytest.approx(mine.objective_after, rel=1e-9)
    assert b.ledger.products == a.ledger.products + 5  # the one under way when a solve ends


@gpu
def test_memory_is_given_back_and_what_is_recorded_shares_one_pool() -> None:
    v = direction(linearised(4096), 0)
    used = []
    for seed in range(12):
        at = linearised(4096, seed)
        for _ in range(4):
            at.gauss_newton(v)
        del at
        gc.collect()
        torch.cuda.synchronize()
        used.append((torch.cuda.memory_allocated(), torch.cuda.memory_reserved()))
    assert used[-1] == used[5]


@gpu
def test_a_step_holds_no_more_than_it_says() -> None:
    """Gradient and curvature on other cases, as at first nothing has been recorded."""
    gc.collect()
    before = torch.cuda.memory_allocated()
    model = network((200, 300, 100), 0).to("cuda", torch.float32)
    x, t = inputs_for(60_000, 200, 1).float().cuda(), targets_for("logistic", 60_000, 100, 2).float().cuda()
    optimizer = HessianFree(model, max_inner=20)
    torch.cuda.reset_peak_memory_stats()
    told = optimizer.step(x, t, (x[:30_000], t[:30_000])).predicted_memory
    held = torch.cuda.max_memory_allocated() - before
    assert told is not None
    assert 0.9 * held <= told <= 1.3 * held  # cuBLAS has some MB of its own
