"""A step evaluates the objective where its method says so, and nowhere twice."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from support.systems import inputs_for, network, targets_for
from torch import Tensor

import hfbench.hessian_free.optimizer
import hfbench.hessian_free.step
from hfbench import HessianFree
from hfbench.linalg.vector import Vector
from hfbench.memory.forecast import ChunkPlan
from hfbench.parts.protocols import SolverState

CASES, SOME = 30, 12


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
