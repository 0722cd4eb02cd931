"""Reference values of a step against hfbench's own, which are computed by other means."""

from __future__ import annotations

import pytest
import torch

from hfbench.curvature.loss import LOSSES
from hfbench.curvature.objective import objective
from hfbench.linalg.vector import Vector
from hfbench.testing.contract import flat
from hfbench.testing.problems import Problem
from hfbench.testing.step_reference import HeldWeights, StepReference


@pytest.mark.parametrize("loss", LOSSES)
def test_both_have_the_same_objective_gradient_and_variances(loss: str) -> None:
    problem = Problem(loss, decay=0.1)
    reference, w = StepReference(problem, *problem.cases(2)), flat(list(problem.model.parameters()))
    at = problem.linearisation(2)
    gradient = at.gradient + Vector(at.blocks) * problem.mu_D
    assert reference.objective(w) == pytest.approx(objective(problem.model, loss, *problem.cases(2), problem.mu_D))
    assert torch.allclose(reference.gradient(w), flat(gradient))
    assert reference.evidence(w) == pytest.approx(
        {"variance_l1": at.variance_l1, "variance_inner": at.variance_along(gradient)}
    )


def test_passes_are_listed_with_their_weights_and_rows() -> None:
    problem = Problem()
    model, (inputs, targets) = problem.model, problem.cases(2)
    before = flat(list(model.parameters()))
    with HeldWeights(model, inputs) as held:
        model(inputs[[4, 2]])
        with torch.no_grad():
            model[0].weight.mul_(0.5)
        model(inputs + 1)
    model(inputs)
    (first, rows), (second, others) = held.passes
    assert torch.equal(first, before)
    assert rows is not None
    assert rows.tolist() == [4, 2]
    assert others is None
    assert torch.equal(second, flat(list(model.parameters())))
    reference = StepReference(problem, inputs, targets)
    norms = [float(reference.gradient(w).norm()) for w in (before, second)]
    assert reference.gradient_norms(held) == [*norms, float(reference.gradient(first, rows).norm())]
