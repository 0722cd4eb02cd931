"""A step: what each of its switches does, what it evaluates and counts, and nothing twice."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support.small_steps import DTYPE, PLAIN, PRECONDITIONERS, SOLVERS, problem, run, weights
from support.systems import flat, inputs_for, network, targets_for
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import hfbench.hessian_free.optimizer
import hfbench.hessian_free.step
from hfbench import HessianFree
from hfbench.curvature.linearisation import Linearisation
from hfbench.hessian_free import step
from hfbench.hessian_free.globalization import Globalization
from hfbench.hessian_free.step_result import StepResult
from hfbench.linalg.vector import Vector
from hfbench.memory.forecast import ChunkPlan
from hfbench.parts.protocols import SolverState
from hfbench.solvers.stopping import FixedIterations

CASES, SOME = 30, 12
MU = {"0.weight": 0.3, "0.bias": 0.07, "2.weight": 1.1}  # and none for the last bias


def watched(monkeypatch: pytest.MonkeyPatch) -> tuple[list[tuple[Vector, int]], list[int], Callable[..., Any]]:
    """Where (w + p, cases) the objective was evaluated, how many iterates were kept per step, and a step to take."""
    seen: list[tuple[Vector, int]] = []
    kept: list[int] = []
    objective, backtrack = hfbench.hessian_free.step.objective, hfbench.hessian_free.step.backtrack

    def seen_objective(model: Any, loss: str, inputs: Tensor, *rest: Any, **more: Any) -> float:
        seen.append((Vector(rest[3].values()), len(inputs)))
        return objective(model, loss, inputs, *rest, **more)

    def seen_backtrack(states: list[SolverState], f: Any) -> Any:
        given = list(states)
        chosen, value = backtrack(states, f)
        kept.append(min(len(given) - given.index(chosen) + 1, len(given)))
        return chosen, value

    monkeypatch.setattr(hfbench.hessian_free.step, "objective", seen_objective)
    monkeypatch.setattr(hfbench.hessian_free.step, "backtrack", seen_backtrack)
    rehearsed = ChunkPlan(None, None)  # rehearsals are no steps
    monkeypatch.setattr(hfbench.hessian_free.optimizer, "plan_of_step", lambda *_: rehearsed)
    model = network((6, 8, 4), 0)
    x, t = inputs_for(CASES, 6, 1), targets_for("softmax", CASES, 4, 2)

    def step(curvature: bool, steps: int, **settings: Any) -> list[Any]:
        optimizer = HessianFree(model, "softmax", decay=1e-3, max_inner=9, **settings)
        rows = []
        for _ in range(steps):
            before, counted = Vector(p.detach().clone() for p in model.parameters()), optimizer.ledger.evaluation
            seen.clear()
            rows.append(optimizer.step(x, t, (x[:SOME], t[:SOME]) if curvature else None))
            assert optimizer.ledger.evaluation - counted == sum(cases for _, cases in seen)
            points = [(where, cases) for where, cases in seen if cases == CASES]
            assert all((where - before).norm() > 0 for where, _ in points), "f(w) is known from the gradient's pass"
            different = {tuple(block.flatten().tolist()[0] for block in where) for where, _ in points}
            assert len(different) == len(points), "nothing is evaluated twice"
        return rows

    return seen, kept, step


@pytest.mark.parametrize("solver", ["cg", "lsmr"])
@pytest.mark.parametrize("curvature", [False, True])
def test_backtracking_and_line_search_share_their_evaluations(
    solver: str, curvature: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Backtracking: the last iterate, and lower ones to the first rise; line search: lengths below 1; rho: if apart."""
    seen, kept, step = watched(monkeypatch)
    (result,) = step(curvature, 1, solver=solver, globalization={"initial_damping": 1e-3, "armijo": 0.29})
    shortened = round(math.log(result.step_length) / math.log(0.8)) if result.step_length else 59
    assert len(seen) == kept[0] + shortened + curvature
    step(curvature, 4, solver=solver, globalization={"initial_damping": 1e-3})


def test_a_step_without_switches_evaluates_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, _, step = watched(monkeypatch)
    step(False, 2, globalization={"backtracking": False, "line_search": False, "adapt_damping": False})
    assert not seen


class Steep(nn.Module):
    """One weight with z = 40 w³: a model so curved that full steps overshoot."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.1], dtype=DTYPE))

    def forward(self, x: Tensor) -> Tensor:
        return 40 * self.w**3 * x


def overshoot(**globalization: Any) -> StepResult:
    settings = {**PLAIN, "initial_damping": 1e-8, **globalization}
    model, x = Steep(), torch.ones(3, 1, dtype=DTYPE)
    return HessianFree(model, "least-squares", preconditioner="identity", globalization=settings).step(x, 40 * x)


def test_line_search_shortens_a_step_that_overshoots() -> None:
    free, searched = overshoot(), overshoot(line_search=True)
    assert free.step_length == 1.0
    assert free.objective_after is None
    assert 0 < searched.step_length < 1
    assert searched.objective_after < searched.objective_before
    assert searched.step_length == pytest.approx(0.8 ** round(math.log(searched.step_length, 0.8)))


def test_damping_rises_after_a_step_that_overshoots() -> None:
    result = overshoot(adapt_damping=True)
    assert result.rho == -math.inf
    assert result.next_damping == pytest.approx(1.5e-8)
    assert result.objective_after > result.objective_before, "rho needed it, so it is known"


def test_no_try_left_leaves_the_weights() -> None:
    model, x = Steep(), torch.ones(3, 1, dtype=DTYPE)
    rules = Globalization(initial_damping=1e-8, max_tries=2)
    optimizer = HessianFree(model, "least-squares", preconditioner="identity", globalization=rules)
    result = optimizer.step(x, 40 * x)
    assert (result.step_length, result.step_norm, model.w.tolist()) == (0.0, 0.0, [0.1])
    assert result.objective_after == result.objective_before
    assert result.next_damping > result.damping
    assert optimizer.iteration == 1


def test_backtracking_returns_to_an_earlier_iterate() -> None:
    """At a tiny damping the late iterates overshoot, an early one does not."""
    settings = {"initial_damping": 1e-6, "warm_start": 0.0, "keep_start": 1}
    rules = [FixedIterations(iterations=25)]
    _, _, (there,) = run(1, rules=rules, globalization=settings)
    _, _, (back,) = run(1, rules=rules, globalization={**settings, "backtracking": False})
    assert there.chosen_iterate < there.inner_iterations == back.chosen_iterate
    assert there.objective_after < back.objective_before


def test_warm_start_is_the_last_iterate_not_the_chosen_one() -> None:
    _, optimizer, (result,) = run(1, globalization={"initial_damping": 1e-6, "keep_start": 1})
    assert result.chosen_iterate < result.inner_iterations
    stored = flat(tuple(optimizer.state[p]["warm_start"] for p in optimizer.param_groups[0]["params"]))  # type: ignore[arg-type]
    assert np.linalg.norm(stored) != pytest.approx(result.step_norm / result.step_length, rel=1e-3)
    np.testing.assert_allclose(
        flat(step.initial_iterate(optimizer.settings, None, optimizer._last_iterate())), 0.95 * stored
    )


def test_curvature_on_other_cases() -> None:
    """The system's matrix is that of the curvature's cases, its right-hand side that of all."""
    _, _, same = run(2, solver="lsmr")
    _, _, other = run(2, solver="lsmr", curvature=True)
    assert same[0].gradient_norm == other[0].gradient_norm
    assert same[0].q != other[0].q
    assert other[0].right_hand_side == "damping"
    assert other[1].objective_after < other[0].objective_before


def dense_preconditioner(preconditioner: dict[str, Any], layout: str, damping: float, decay: Any) -> np.ndarray:
    """M of the system that a first step would meet, by its inverse on every unit vector."""
    model, x, t = problem(cases=10)
    settings = {"decay": decay, "decay_mask": "all"} if isinstance(decay, float) else {"decay": decay}
    lambda_0 = {"initial_damping": damping}
    optimizer = HessianFree(model, preconditioner=preconditioner, layout=layout, globalization=lambda_0, **settings)
    linear, _ = optimizer.system_at(x, t)
    like, columns = linear.system.gradient, []
    for j in range(like.numel()):
        unit = torch.zeros(like.numel(), dtype=DTYPE)
        unit[j] = 1
        pieces = torch.split(unit, [block.numel() for block in like])
        v = Vector(piece.reshape(block.shape) for piece, block in zip(pieces, like, strict=True))
        columns.append(flat(linear.preconditioner.solve(v)))
    return np.linalg.inv(np.stack(columns, 1))


@pytest.mark.parametrize("layout", ["structured", "flat"])
@pytest.mark.parametrize("name", ["martens", "chapelle-erhan", "exact-diagonal", "kfac"])
def test_the_preconditioner_has_each_blocks_decay_on_its_diagonal(name: str, layout: str) -> None:
    """M = d + lambda + mu D where nothing flattens it; K-FAC damps a bias like its weight."""
    settings = {"use": name, **({"damping": "exact"} if name == "kfac" else {"exponent": 1.0})}
    mu = [0.3, 0.3, 1.1, 1.1] if name == "kfac" else [0.3, 0.07, 1.1, 0.0]
    decayed, plain = (dense_preconditioner(settings, layout, 0.2, of) for of in (MU, 0.0))
    D = np.concatenate([np.full(p.numel(), m) for p, m in zip(problem()[0].parameters(), mu, strict=True)])
    np.testing.assert_allclose(decayed - plain, np.diag(D), atol=1e-10)


@pytest.mark.parametrize("name", ["martens", "chapelle-erhan", "exact-diagonal", "kfac"])
def test_decay_and_damping_enter_the_preconditioner_alike(name: str) -> None:
    """With the settings that stand: exponents, and K-FAC's damping split between its factors."""
    decayed = dense_preconditioner({"use": name}, "structured", 0.2, 0.5)
    damped = dense_preconditioner({"use": name}, "structured", 0.7, 0.0)
    np.testing.assert_allclose(decayed, damped, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
def test_streamed_in_chunks_the_trajectory_is_the_same(solver: str, preconditioner: str) -> None:
    settings = {"solver": solver, "preconditioner": preconditioner, "decay": 0.01, "seed": 3}
    settings |= {"globalization": {"initial_damping": 0.1}}
    whole = run(3, curvature=True, **settings)
    chunked = run(3, curvature=True, chunk=7, **settings)
    np.testing.assert_allclose(weights(chunked[0]), weights(whole[0]), rtol=1e-7, atol=1e-9)
    for a, b in zip(chunked[2], whole[2], strict=True):
        assert (a.inner_iterations, a.chosen_iterate) == (b.inner_iterations, b.chosen_iterate)
        assert a.next_damping == b.next_damping
        assert a.objective_after == pytest.approx(b.objective_after, rel=1e-9)
    assert chunked[1].ledger.work > whole[1].ledger.work


def test_work_equals_a_count_by_hand() -> None:
    """n = 30 for the gradient, of which c = 12 for the curvature: Martens' squares, K products, E evaluations."""
    model, x, t = problem()
    settings = {"rules": [FixedIterations(iterations=8)], "globalization": {"initial_damping": 45.0}}
    optimizer = HessianFree(model, **settings)
    result = optimizer.step(x, t, (x[:12], t[:12]))
    assert (result.inner_iterations, result.step_length) == (8, 1.0)
    ledger = optimizer.ledger
    assert (ledger.forward, ledger.backward, ledger.squares, ledger.norms) == (30, 30, 30, 0)
    assert (ledger.jvp, ledger.vjp, ledger.products) == (8 * 12, 8 * 12, 8.0)
    kept_asked = {8: 2, 7: 3, 5: 3}[result.chosen_iterate]  # from 8 over 7 and 5 down to the first rise
    assert ledger.evaluation == 30 * kept_asked + 12
    assert ledger.work == 30 + 2 * 30 + 2 * 30 + 4 * 96 + ledger.evaluation
    optimizer.step(x, t, (x[:12], t[:12]), evidence=("variance_l1",))
    assert ledger.norms == 30
    assert ledger.products == 8 + 9, "the warm start costs one product"


@pytest.mark.parametrize(
    ("name", "kind", "cases"),
    [("martens", "squares", 30), ("chapelle-erhan", "squares", 12), ("exact-diagonal", "squares", 4 * 12),
     ("kfac", "deltas", 12)],
)  # fmt: skip
def test_preconditioners_are_built_on_the_cases_of_what_they_approximate(name: str, kind: str, cases: int) -> None:
    """Martens' on the gradient's 30, those of the Gauss-Newton matrix on the curvature's 12, with 4 outputs."""
    _, optimizer, _ = run(1, curvature=True, preconditioner=name)
    assert optimizer.ledger.state_dict()[kind] == cases


def test_the_evidence_is_of_gradients_with_decay() -> None:
    """‖g‖ and Var_i(g_iᵀg) with g = ∇f, decay included; case by case."""
    model, x, t = problem(cases=10)
    rows = []
    for i in range(len(x)):
        loss = binary_cross_entropy_with_logits(model(x[i : i + 1]), t[i : i + 1], reduction="sum")
        rows.append(torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(model.parameters()))]))
    gradients = torch.stack(rows)
    g = gradients.mean(0) + torch.cat(
        [MU.get(name, 0.0) * p.detach().reshape(-1) for name, p in model.named_parameters()]
    )
    result = HessianFree(model, decay=MU).step(x, t, evidence=("variance_l1", "variance_inner"))
    assert result.gradient_norm == pytest.approx(float(g.norm()), rel=1e-10)
    assert result.variance_inner == pytest.approx(float((gradients @ g).var()), rel=1e-9)
    assert result.variance_l1 == pytest.approx(float(gradients.var(0).sum()), rel=1e-9)


@pytest.mark.parametrize("curvature", [False, True])
def test_rho_is_of_the_curvatures_cases_with_decay_and_without_damping(curvature: bool) -> None:
    """rho = (f_c(w + p) - f_c(w))/(q(p) - ½ lambda pᵀp), f_c on the cases of the curvature."""
    model, x, t = problem()
    cases = (x[:12], t[:12]) if curvature else (x, t)
    settings = {**PLAIN, "adapt_damping": True, "initial_damping": 3.0}
    optimizer, before = HessianFree(model, decay=MU, globalization=settings), weights(model)

    def f() -> float:
        penalty = sum(
            0.5 * MU.get(name, 0.0) * float(p.detach().square().sum()) for name, p in model.named_parameters()
        )
        loss = binary_cross_entropy_with_logits(model(cases[0]).detach(), cases[1], reduction="sum")
        return float(loss) / len(cases[0]) + penalty

    f_0 = f()
    result = optimizer.step(x, t, cases if curvature else None)
    p = weights(model) - before
    assert result.rho == pytest.approx((f() - f_0) / (result.q - 1.5 * p @ p), rel=1e-8)
    assert 0 < result.rho < 2


def test_switches_off_save_their_evaluations() -> None:
    _, optimizer, _ = run(1, globalization=PLAIN)
    assert optimizer.ledger.evaluation == 0
    _, optimizer, _ = run(1, globalization={**PLAIN, "adapt_damping": True})
    assert optimizer.ledger.evaluation == 30


@pytest.mark.parametrize("solver", SOLVERS)
def test_no_graph_is_held_while_steps_are_tried(solver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[Any] = []
    alive: list[int] = []
    linearised, backtrack = step.StepSettings.linearised, step._backtrack

    def watched(self: step.StepSettings, *args: Any) -> Linearisation:
        at = linearised(self, *args)
        graphs.append(weakref.ref(at.kept))
        return at

    def counted(*args: Any) -> Any:
        gc.collect()
        alive.append(sum(graph() is not None for graph in graphs))
        return backtrack(*args)

    monkeypatch.setattr(step.StepSettings, "linearised", watched)
    monkeypatch.setattr(step, "_backtrack", counted)
    run(2, solver=solver, curvature=True)
    assert len(graphs) >= 4  # a step's memory is rehearsed before
    assert set(alive) == {0}


def test_a_warm_start_that_overflows_is_dropped() -> None:
    """The step it spoils is not taken, lambda rises, and the next step starts from zero."""
    model, x = network((4, 3, 4), 0), inputs_for(20, 4, 1)
    optimizer = HessianFree(model, loss="least-squares", solver="cg")
    optimizer.step(x, x)
    for p in model.parameters():
        optimizer.state[p]["warm_start"] = torch.full_like(p, 1e200)
    before = [p.detach().clone() for p in model.parameters()]
    spoiled = optimizer.step(x, x)
    assert (spoiled.stop_reason, spoiled.step_length) == ("nonfinite", 0.0)
    assert spoiled.next_damping > spoiled.damping
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    healthy = optimizer.step(x, x)
    assert healthy.step_length > 0
    assert healthy.objective_after < healthy.objective_before


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("preconditioner", [*PRECONDITIONERS, "exact-diagonal", "kfac"])
@pytest.mark.parametrize("size", [1.7e9, 1e14])
def test_raw_features_overflow_no_norm(size: float, preconditioner: str, solver: str) -> None:
    """Timestamps in float32: gradients, diagonals and residuals are finite where their squares are not."""
    x, w = inputs_for(50, 3, 1, torch.float32), torch.tensor([[0.0, 0.3, -1.0]])
    t = x @ w.T + 1
    x[:, 0] = size * (1 + 0.01 * x[:, 0])
    model = network((3, 1), 0, torch.float32)
    optimizer = HessianFree(
        model,
        "least-squares",
        solver=solver,
        preconditioner=preconditioner,
        globalization={"initial_damping": 1.0},
    )
    results = [optimizer.step(x, t, evidence=("variance_l1",)) for _ in range(3)]
    assert results[-1].objective_after < 1e-6 * results[0].objective_before
    assert all(math.isfinite(number) for number in (results[-1].gradient_norm, results[-1].variance_l1))
