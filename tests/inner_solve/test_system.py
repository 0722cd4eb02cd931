"""One problem for every solver, preconditioner and right-hand side: the dense solution of (1)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.systems import dense_hessian, dense_jacobian, flat, inputs_for, network, targets_for

from hfbench import registry
from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.weight_decay import decay_per_block
from hfbench.errors import ConfigError
from hfbench.inner_solve.solve import solve
from hfbench.inner_solve.system import GaussNewtonSystem
from hfbench.linalg.vector import Vector
from hfbench.solvers.stopping import Residual

LOSS_NAMES = ["least-squares", "logistic", "softmax"]
SOLVERS = ["cg", "lsmr", "lsqr", "minres"]
PRECONDITIONERS = ["identity", "martens", "chapelle-erhan"]


class Problem:
    """A small network's system, and the same as dense matrices."""

    def __init__(self, loss: str, seed: int, *, shared: bool, damping: float = 0.1, decay: float = 0.01) -> None:
        self.model = network((4, 5, 3), seed)
        x, t = inputs_for(12, 4, seed + 1), targets_for(loss, 12, 3, seed + 2)
        half = 12 if shared else 6
        self.gradient_at = Linearisation(self.model, loss, x, t)
        self.curvature_at = self.gradient_at if shared else Linearisation(self.model, loss, x[:half], t[:half])
        self.mu_D = decay_per_block(list(self.model.parameters()), decay, "weights")
        self.g = self.gradient_at.gradient + self.gradient_at.parameters * self.mu_D
        self.damping, self.shared = damping, shared
        J = dense_jacobian(self.model, x[:half]).detach().numpy()
        H = dense_hessian(loss, self.model(x[:half]), t[:half]).numpy()
        diagonal = flat(
            Vector(torch.full_like(p, mu) for p, mu in zip(self.gradient_at.parameters, self.mu_D, strict=True))
        )
        self.A = J.T @ H @ J / half + np.diag(diagonal + damping)

    def system(self, form: str) -> GaussNewtonSystem:
        return GaussNewtonSystem(
            self.curvature_at, self.g, self.damping, self.mu_D, shares_cases=self.shared, right_hand_side=form
        )


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10**6))
@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("shared", [True, False])
def test_same_problem(loss: str, shared: bool, seed: int) -> None:
    problem = Problem(loss, seed, shared=shared)
    exact = np.linalg.solve(problem.A, -flat(problem.g))
    for name in SOLVERS:
        for preconditioner in PRECONDITIONERS:
            for form in ["residual", "damping"] if shared else ["damping"]:
                system = problem.system(form)
                part = registry.build("preconditioner", preconditioner)
                built_on = problem.gradient_at if part.cases == "gradient" else problem.curvature_at
                M = part.build(built_on, system.shift, torch.Generator().manual_seed(seed))
                warm = Vector(0.1 * torch.ones_like(b) for b in problem.g)
                for x0 in (None, warm):
                    solution = solve(registry.build("solver", name), system, x0, M, [Residual(rtol=1e-12)])
                    error = np.linalg.norm(flat(solution.last.x) - exact) / np.linalg.norm(exact)
                    assert error < 1e-8, (name, preconditioner, form)
                    q = flat(problem.g) @ exact + 0.5 * exact @ problem.A @ exact
                    assert solution.last.q == pytest.approx(q, rel=1e-8)


@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("form", ["residual", "damping"])
def test_least_squares_form_is_the_matrix_form(loss: str, form: str) -> None:
    """ÃᵀÃ = A, Ãᵀb̃ = -g and ⟨Ãv, u⟩ = ⟨v, Ãᵀu⟩."""
    problem = Problem(loss, 3, shared=True)
    system = problem.system(form)
    v = Vector(
        torch.randn(b.shape, generator=torch.Generator().manual_seed(i), dtype=b.dtype) for i, b in enumerate(problem.g)
    )
    Av = flat(system.multiply(v))
    np.testing.assert_allclose(Av, problem.A @ flat(v), rtol=1e-10)
    np.testing.assert_allclose(flat(system.adjoint(system.forward(v))), Av, rtol=1e-10)
    np.testing.assert_allclose(flat(system.adjoint(system.right_hand_side)), -flat(problem.g), rtol=1e-9, atol=1e-12)
    u = system.right_hand_side
    assert system.forward(v).dot(u) == pytest.approx(v.dot(system.adjoint(u)))


@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("name", ["lsmr", "lsqr"])
def test_both_right_hand_sides_give_the_same_iterates(loss: str, name: str) -> None:
    problem = Problem(loss, 4, shared=True)
    M = registry.build("preconditioner", "identity").build(problem.curvature_at, (), torch.Generator())
    solver = registry.build("solver", name)
    pairs = zip(*(solver.iterates(problem.system(form), None, M) for form in ("residual", "damping")), strict=False)
    for _, (a, b) in zip(range(8), pairs, strict=False):
        np.testing.assert_allclose(flat(a.x), flat(b.x), rtol=1e-7, atol=1e-10)
        assert a.q == pytest.approx(b.q, rel=1e-8)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
@pytest.mark.parametrize("form", ["residual", "damping"])
@pytest.mark.parametrize("warm", [False, True])
def test_float32_tracks_q_at_small_damping(name: str, preconditioner: str, form: str, warm: bool) -> None:
    """At lambda = 1e-4 the tracked q agrees with q(x) recomputed in float64 to 1e-3."""
    loss, cases = "logistic", 60
    exact = network((16, 12, 4, 12, 16), 0)
    model = network((16, 12, 4, 12, 16), 0).float()
    with torch.no_grad():
        for p, q in zip(exact.parameters(), model.parameters(), strict=True):
            p.copy_(q)
    x, t = inputs_for(cases, 16, 1, torch.float32), targets_for(loss, cases, 16, 2, torch.float32)
    at, at64 = Linearisation(model, loss, x, t), Linearisation(exact, loss, x.double(), t.double())
    mu_D = decay_per_block(list(model.parameters()), 1e-5, "weights")
    g = at.gradient + at.parameters * mu_D
    system = GaussNewtonSystem(at, g, 1e-4, mu_D, shares_cases=True, right_hand_side=form)
    system64 = GaussNewtonSystem(at64, Vector(b.double() for b in g), 1e-4, mu_D, shares_cases=True)
    M = registry.build("preconditioner", preconditioner).build(at, system.shift, torch.Generator().manual_seed(0))
    x0 = Vector(-0.5 * b for b in g) if warm else None
    seen = 0
    for state in registry.build("solver", name).iterates(system, x0, M):
        v = Vector(b.double() for b in state.x)
        q = system64.gradient.dot(v) + 0.5 * v.dot(system64.multiply(v))
        assert state.q == pytest.approx(q, rel=1e-3), state.k
        seen += 1
        if state.k == 100:
            break
    assert seen > 50


def test_right_hand_side_choice() -> None:
    shared, apart = Problem("logistic", 1, shared=True), Problem("logistic", 1, shared=False)
    assert apart.system("auto").right_hand_side_form == "damping"
    assert shared.system("auto").right_hand_side_form in ("residual", "damping")
    with pytest.raises(ConfigError, match="same cases"):
        _ = apart.system("residual").right_hand_side
    with pytest.raises(ConfigError, match="did you mean 'damping'"):
        _ = apart.system("dampin").right_hand_side
    undamped = Problem("logistic", 1, shared=True, damping=0.0, decay=0.0)
    assert undamped.system("auto").right_hand_side_form == "residual"
    with pytest.raises(ConfigError, match="lambda > 0"):
        _ = undamped.system("damping").right_hand_side
    with pytest.raises(ConfigError, match="neither holds"):
        _ = Problem("logistic", 1, shared=False, damping=0.0, decay=0.0).system("auto").right_hand_side
