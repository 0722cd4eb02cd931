"""The judge of iterates against dense algebra and against the objective itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.frozen import frozen, judge
from support.tiny_study import specs, tiny

from hfbench.curvature.objective import objective
from hfbench.linalg.lanczos import ritz_values
from hfbench.linalg.vector import Vector
from hfbench.probe.freeze import frozen_systems
from hfbench.probe.judge import FEW_ROWS, REACHED, Judge


def test_the_exact_solution_solves_the_system() -> None:
    exact = judge().exact
    assert exact is not None
    assert exact.reached
    residual = judge().system.multiply(exact.x) + judge().g
    assert residual.norm() <= REACHED * judge().b_norm
    assert exact.q == pytest.approx(0.5 * judge().g.dot(exact.x), rel=1e-10)


@pytest.mark.slow
def test_a_solution_that_cannot_be_reached_says_so() -> None:
    one = Judge(frozen().damped(1e-6))
    exact = one.solve_exactly(10)
    assert not exact.reached
    assert exact.residual > REACHED
    best = Judge(frozen().damped(1e-6)).solve_exactly(20_000)
    assert 0 < exact.q - best.q <= exact.slack * -exact.q
    assert f"1e-12 could not be reached; q* is at most {exact.slack:.0e} |q| lower" in exact.told
    assert (one.system.multiply(exact.x) + one.g).norm() == pytest.approx(exact.residual * one.b_norm, rel=1e-6)


def test_few_rows_are_solved_directly_where_conjugate_gradients_stall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny(tmp_path, "study.stop_at_target=false", "methods.hf.scheduler.curvature=5")
    one = Judge(next(frozen_systems(specs(study)["hf", 0], [3])).damped(1e-6))
    assert one.system.linearisation.outputs.numel() <= FEW_ROWS
    direct = one.solve_exactly(100)
    monkeypatch.setattr("hfbench.probe.judge.FEW_ROWS", 0)
    iterated = one.solve_exactly(100)
    assert direct.products < 20
    assert direct.residual < 1e-3 * iterated.residual
    assert direct.q <= iterated.q
    rest = one.system.multiply(direct.x) + one.g
    assert rest.norm() == pytest.approx(direct.residual * one.b_norm, rel=1e-2)


def test_what_an_iterate_is_worth_agrees_with_its_definition() -> None:
    one, opened = judge(), frozen().open()
    posed, _ = opened.system_at()
    x = Vector(0.3 * block.float() for block in one.exact.x)
    found = one.look(x, posed.preconditioner)
    x64 = Vector(block.double() for block in x)
    Ax = one.system.multiply(x64)
    r = -one.g - Ax
    assert found["q_exact"] == pytest.approx(one.g.dot(x64) + 0.5 * x64.dot(Ax), rel=1e-10)
    assert found["residual"] == pytest.approx(r.norm() / one.b_norm, rel=1e-9)
    d = x64 - one.exact.x
    energy = d.dot(one.system.multiply(d)) / one.exact.x.dot(one.system.multiply(one.exact.x))
    assert found["gap"] == pytest.approx(energy, rel=1e-6)
    assert found["gap"] == pytest.approx(0.49, rel=1e-4)  # (1 - 0.3)²
    assert found["distance"] == pytest.approx(0.7, rel=1e-5)
    own = Vector(block.float() for block in r)
    preconditioned = own.dot(posed.preconditioner.solve(own)) ** 0.5
    assert found["residual_preconditioned"] == pytest.approx(preconditioned, rel=1e-5)
    rest = one.f - one.system.forward(x64)
    largest = float(ritz_values(one.system.multiply, one.g, 40)[-1]) ** 0.5
    assert found["backward_error"] == pytest.approx(r.norm() / (largest * rest.norm()), rel=1e-3)


def test_the_change_of_f_is_that_of_the_model_with_its_weights_moved() -> None:
    one = judge()
    opened = frozen().open(precision="float64")
    step = Vector(0.5 * block for block in one.exact.x)
    found = one.look(step, opened.system_at()[0].preconditioner)

    def values() -> dict[str, float]:
        splits = {name: getattr(opened.data, name) for name in ("train", "validation", "test")}
        mu_D = opened.optimizer.mu_D
        return {
            name: objective(opened.model, opened.task.loss, split.inputs, split.targets, mu_D)
            for name, split in splits.items()
        }

    before = values()
    with torch.no_grad():
        for parameter, block in zip(opened.model.parameters(), step, strict=True):
            parameter += block
    for name, after in values().items():
        assert found[f"change_{name}"] == pytest.approx(after - before[name], rel=1e-9)
        assert found[f"change_{name}"] < 0
