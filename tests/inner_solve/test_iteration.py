"""Inner iterations replayed as one graph: here on a CPU by a recorder of operations, on a GPU in test_replayed.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from support import graphs
from support.graphs import Recording
from support.systems import inputs_for, network, targets_for
from torch import Tensor, nn

from hfbench import HessianFree, registry
from hfbench.curvature import cuda_graphs, dense_chain
from hfbench.curvature.cuda_chain import ReplayedChain
from hfbench.curvature.dense_chain import Chain
from hfbench.curvature.linearisation import Linearisation
from hfbench.errors import ConfigError
from hfbench.inner_solve.iteration import replay
from hfbench.inner_solve.system import GaussNewtonSystem
from hfbench.linalg import vector
from hfbench.linalg.vector import Vector
from hfbench.memory.allocations import Tally
from hfbench.solvers.preconditioners import diagonal
from hfbench.solvers.preconditioners.diagonal import Diagonal

SIZES = (20, 30, 10)
SOLVERS = ("cg", "lsmr", "lsqr", "minres")
LAYOUTS = ("structured", "flat")


# ---------------------------------------------------------------- the recorder itself


def test_recording_runs_nothing_and_a_replay_reads_what_is_there_then() -> None:
    a, total = torch.tensor([1.0, 2.0]), torch.zeros(2)
    with Recording() as graph:
        double = a * 2
        total.add_(double[:1])
    assert total.tolist() == [0, 0]
    assert double.isnan().all()
    graph.replay()
    assert (double.tolist(), total.tolist()) == ([2, 4], [2, 2])
    a.fill_(5)
    graph.replay()
    assert (double.tolist(), total.tolist()) == ([10, 10], [12, 12])


def test_the_recorder_refuses_numbers_of_the_host_and_memory_of_nobody() -> None:
    with Recording(), pytest.raises(RuntimeError, match="makes the host wait"):
        float(torch.ones(()))
    gone = torch.ones(3)
    with Recording() as graph:
        gone * 2
    graph.replay()
    del gone
    with pytest.raises(RuntimeError, match="nobody's any more"):
        graph.replay()


# ---------------------------------------------------------------- processes


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Recording]:
    """As on a GPU: numbers stay there, blocks lie apart, chains are replayed; what has been recorded so far."""
    found: list[Recording] = []

    def record(call: Callable[[], Any], device: torch.device) -> tuple[Recording, Any]:
        graph, made = graphs.record(call, device)
        found.append(graph)
        return graph, made

    monkeypatch.setattr(vector, "is_on_gpu", lambda device: True)
    for user in (dense_chain, diagonal):
        monkeypatch.setattr(user, "empty_vector", lambda like: Vector(map(torch.empty_like, like)))
    monkeypatch.setattr("hfbench.curvature.tape.Chain", ReplayedChain)
    monkeypatch.setattr(cuda_graphs, "capture_graph", record)
    return found


def linearised(cases: int = 64, seed: int = 1, model: nn.Module | None = None, **settings: Any) -> Linearisation:
    model = model or network(SIZES, 0)
    return Linearisation(
        model, "logistic", inputs_for(cases, 20, seed), targets_for("logistic", cases, 10, 2), **settings
    )


def system_of(at: Linearisation, damping: float = 0.1) -> GaussNewtonSystem:
    return GaussNewtonSystem(at, at.gradient, damping, (0.0,) * len(at.blocks), shares_cases=True)


def launch_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReplayedChain, "jvp", Chain.jvp)
    monkeypatch.setattr(ReplayedChain, "vjp", Chain.vjp)


def factor(name: str, system: GaussNewtonSystem) -> Any:
    return registry.build("preconditioner", name).build(
        system.linearisation, system.shift, torch.Generator().manual_seed(3)
    )


def solved(
    solver: str, preconditioner: str, layout: str, warm: bool, steps: int = 12
) -> tuple[list[Any], dict[str, int]]:
    at = linearised(layout=layout)
    system = system_of(at)
    x0 = at.layout.pack([torch.full_like(b, 0.01) for b in at.blocks]) if warm else None
    M = factor(preconditioner, system)
    before = at.ledger.state_dict()
    states = list(islice(registry.build("solver", solver).iterates(system, x0, M), steps + 1))
    work = {kind: count - before[kind] for kind, count in at.ledger.state_dict().items()}
    if x0 is not None:
        assert all((block == 0.01).all() for block in x0)
    return [(one.q, one.relative_residual, one.x) for one in states], work


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("preconditioner", ["identity", "martens", "kfac"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_replayed_solve_is_the_launched_one(
    solver: str,
    layout: str,
    preconditioner: str,
    warm: bool,
    recorded: list[Recording],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To the last bit, iterates kept from all steps, and with the same work counted."""
    states, work = solved(solver, preconditioner, layout, warm)
    assert len(recorded) == 1
    made_by_steps = 12 + 1 - 2 if solver in ("cg", "minres") else 12 + 1 + 1 - 2  # one ahead; the first vectors
    assert recorded[0].replays == made_by_steps
    monkeypatch.setattr("hfbench.inner_solve.system.GaussNewtonSystem.replayable", False)
    launch_products(monkeypatch)
    launched, launched_work = solved(solver, preconditioner, layout, warm)
    assert len(recorded) == 1
    assert work == launched_work
    for (q, residual, x), (q_, residual_, x_) in zip(states, launched, strict=True):
        assert (q, residual) == (q_, residual_)
        assert all(torch.equal(a, b) for a, b in zip(x, x_, strict=True))
    qs = [q for q, _, _ in states]
    assert qs == sorted(qs, reverse=True)
    assert len(set(qs)) == len(qs)


@pytest.mark.parametrize("preconditioner", ["chapelle-erhan", "kfac"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_trajectory_of_replayed_solves_is_that_of_a_cpu(
    solver: str, preconditioner: str, recorded: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, t = inputs_for(64, 20, 1), targets_for("logistic", 64, 10, 2)
    settings: dict[str, Any] = {"solver": solver, "preconditioner": preconditioner, "layout": "flat"}
    there = HessianFree(network(SIZES, 0), globalization={"initial_damping": 0.1}, **settings)
    late = [there.step(x, t) for _ in range(5)]
    assert sum(1 for graph in recorded if graph.replays > 3) >= 4
    monkeypatch.undo()
    here = HessianFree(network(SIZES, 0), globalization={"initial_damping": 0.1}, **settings)
    for result in late:
        exact = here.step(x, t)
        assert (result.inner_iterations, result.chosen_iterate, result.stop_reason) == (
            exact.inner_iterations,
            exact.chosen_iterate,
            exact.stop_reason,
        )
        assert result.objective_after == pytest.approx(exact.objective_after, rel=1e-12)
    assert there.ledger.products == here.ledger.products + 5


def pairs(at: Linearisation, told: str) -> Iterator[tuple[Any, Any]]:
    """a, b ← b, a + b, each in the other's place, telling one before or after."""
    like = at.blocks[0][:1, :1]
    a, b = (Vector([like.detach() * 0 + start]) for start in (0, 1))
    while True:
        old = a
        a, b = b, a.add(b, 1.0)
        yield (a, b), {"old": (old,), "new": (b,), "changed": (a, b, b[0].sum())}[told]


@pytest.mark.parametrize("told", ["old", "new", "changed"])
def test_what_is_kept_may_change_places(told: str, recorded: list[Recording]) -> None:
    fibonacci = [0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55]
    at = linearised()
    steps = list(islice(replay(pairs(at, told), system_of(at)), 8))
    assert recorded[0].replays == 6
    for k, step in enumerate(steps):
        numbers = [float(entry if isinstance(entry, Tensor) else entry[0]) for entry in step]
        wanted = {"old": [0], "new": [2], "changed": [1, 2, 2]}[told]
        assert numbers == [fibonacci[k + ahead] for ahead in wanted]


def test_what_would_be_frozen_is_refused(recorded: list[Recording]) -> None:
    def counting(at: Linearisation) -> Iterator[tuple[Any, Any]]:
        k, v = 0, Vector([at.blocks[0] + 0])
        while True:
            k += 1
            yield (v, k), (v[0].sum(),)

    at = linearised()
    with pytest.raises(TypeError, match="must keep and yield vectors and numbers of the device, but a step has a int"):
        list(islice(replay(counting(at), system_of(at)), 4))


def test_a_process_that_asks_for_a_number_cannot_be_recorded(recorded: list[Recording]) -> None:
    def asking(at: Linearisation) -> Iterator[tuple[Any, Any]]:
        v = Vector([at.blocks[0] + 0])
        while True:
            v.mul_(float(v[0].sum()))
            yield (v,), (v,)

    at = linearised()
    with pytest.raises(RuntimeError, match="makes the host wait"):
        list(islice(replay(asking(at), system_of(at)), 4))


def test_what_is_replayed_keeps_its_weights_and_sees_that_the_batch_changed(recorded: list[Recording]) -> None:
    whole = linearised()
    expected = registry.build("solver", "cg").iterates(system_of(whole), None, factor("identity", system_of(whole)))
    kept = [next(expected).x for _ in range(8)]
    at = linearised()
    states = registry.build("solver", "cg").iterates(system_of(at), None, factor("identity", system_of(at)))
    assert [next(states).k for _ in range(6)] == list(range(6))
    assert recorded[-1].replays == 4
    with torch.no_grad():
        next(at.model.parameters()).add_(1)
    for x in kept[6:]:
        assert all(torch.equal(a, b) for a, b in zip(next(states).x, x, strict=True))
    at.inputs.mul_(2.0)
    with pytest.raises(ConfigError, match="inputs must not change after"):
        next(states)


class Own:
    """A preconditioner's factor that says nothing of being replayed, and looks at what it is given."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def solve(self, v: Vector) -> Vector:
        self.seen.append(float(v.dot(v)))
        return v

    solve_factor = solve_factor_t = solve


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("what", ["preconditioner", "streamed", "graph"])
def test_what_does_not_say_so_is_launched(what: str, solver: str, recorded: list[Recording]) -> None:
    model = nn.Sequential(network(SIZES, 0), nn.Softplus()) if what == "graph" else None
    at = linearised(model=model, chunk=16 if what == "streamed" else None)
    system = system_of(at)
    M = Own() if what == "preconditioner" else factor("identity", system)
    states = list(islice(registry.build("solver", solver).iterates(system, None, M), 9))
    assert all(graph.replays < 20 and len(graph.calls) < 60 for graph in recorded)
    assert system.replayable == (what == "preconditioner")
    assert states[-1].q < states[1].q < 0
    if isinstance(M, Own):
        assert len(set(M.seen)) > 9
        assert len(recorded) == 2, "its products, J v and Jᵀu each"
    else:
        assert not recorded


def test_products_beside_a_solve_are_replayed_again_after_it(recorded: list[Recording]) -> None:
    at = linearised()
    system = system_of(at)
    states = registry.build("solver", "cg").iterates(system, None, factor("identity", system))
    v = [next(states) for _ in range(6)][-1].x
    exact = at.gauss_newton(v)
    assert len(recorded) == 1
    states.close()  # type: ignore[attr-defined]
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(at.gauss_newton(v), exact, strict=True))
    assert len(recorded) == 3


def test_solves_of_one_system_may_take_turns(recorded: list[Recording]) -> None:
    at = linearised()
    system = system_of(at)
    M = factor("identity", system)
    solvers = [registry.build("solver", name) for name in ("cg", "lsqr")]
    both = zip(*(solver.iterates(system, None, M) for solver in solvers), strict=True)
    turns = list(islice(both, 10))
    assert len(recorded) == 2
    for here, there in turns:
        assert here.q == pytest.approx(there.q, rel=1e-9)


@pytest.mark.parametrize(
    ("solver", "vectors", "outputs"), [("cg", 2, 0), ("lsqr", 3, 1), ("lsmr", 3, 1), ("minres", 4, 0)]
)
def test_a_rehearsal_records_nothing_and_holds_what_a_graph_reads_and_its_copies(
    solver: str, vectors: int, outputs: int, recorded: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside launched iterations: of what is kept all that is not changed in place, and the vector that is told."""
    launch_products(monkeypatch)
    held = []
    for replayable in (True, True, False):
        monkeypatch.setattr(GaussNewtonSystem, "replayable", replayable)
        at = linearised()
        system = system_of(at)
        M = Diagonal(at.layout.pack([torch.ones_like(b) for b in at.blocks]), system.shift, 0.75)
        with Tally() as tally:
            states = registry.build("solver", solver).iterates(system, None, M)
            held.append([(next(states).k, tally.live) for _ in range(6)])
    assert held[0] == held[1]
    assert not recorded
    P, of_outputs = at.parameters.numel(), at.outputs.numel()
    (_, replayed_live), (_, launched_live) = held[0][-1], held[2][-1]
    numbers = replayed_live - launched_live - 8 * (vectors * P + outputs * of_outputs)
    assert 0 <= numbers <= 8 * 20
