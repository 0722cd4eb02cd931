"""K-FAC against dense Kronecker products, its factors against each other, and its state over steps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from support.systems import Twice, dense_hessian, dense_jacobian, flat, inputs_for, network, targets_for
from torch import Tensor, nn

from hfbench import HessianFree
from hfbench.curvature.kronecker_factors import LayerFactors
from hfbench.curvature.linearisation import Linearisation
from hfbench.errors import ConfigError, NonFiniteError
from hfbench.inner_solve.solve import solve
from hfbench.inner_solve.system import GaussNewtonSystem
from hfbench.linalg import precision
from hfbench.linalg.vector import Vector
from hfbench.solvers.cg import CG
from hfbench.solvers.lsmr import LSMR
from hfbench.solvers.preconditioners.exact_diagonal import ExactDiagonal
from hfbench.solvers.preconditioners.kfac import KFAC
from hfbench.solvers.stopping import Residual

DTYPE = torch.float64
GAMMAS = (0.3, 0.2, 0.1, 0.05)  # of weight, bias, weight, bias: a bias is damped like its weight


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def problem(loss: str = "logistic", cases: int = 8, **given) -> Linearisation:
    model, x, t = network((4, 5, 3), 0), inputs_for(cases, 4, 1), targets_for(loss, cases, 3, 2)
    return Linearisation(model, loss, x, t, **given)


def probes_of(at: Linearisation, seed: int = 0) -> list[Tensor]:
    """What a build with this seed draws."""
    signs = torch.randint(0, 2, at.outputs.shape, generator=generator(seed)).to(DTYPE) * 2 - 1
    return [at.loss_at.factor(signs)]


def dense(M, like: Vector) -> Tensor:
    """M⁻¹ column by column."""
    columns = []
    for i, block in enumerate(like):
        for j in range(block.numel()):
            unit = like.zeros_like()
            unit[i].view(-1)[j] = 1
            columns.append(torch.tensor(flat(M.solve(unit))))
    return torch.stack(columns, 1)


def by_hand(at: Linearisation, damping: str, seed: int = 0) -> Tensor:
    """M as a dense matrix, in the order of the parameters: weights row by row, then biases."""
    M = torch.zeros(at.blocks.numel(), at.blocks.numel(), dtype=DTYPE)
    start = 0
    for layer, one in enumerate(at.kronecker_factors(probes_of(at, seed))):
        gamma, (p, q) = GAMMAS[2 * layer], one.shape
        I_p, I_q = torch.eye(p, dtype=DTYPE), torch.eye(q, dtype=DTYPE)
        pi = ((one.right.trace() / q) / (one.left.trace() / p)).sqrt()
        split = torch.kron(one.left + gamma**0.5 / pi * I_p, one.right + pi * gamma**0.5 * I_q)
        block = split if damping == "split" else torch.kron(one.left, one.right) + gamma * torch.eye(p * q, dtype=DTYPE)
        entries = torch.arange(p * q).reshape(p, q)
        order = torch.cat([entries[:, :-1].reshape(-1), entries[:, -1]])
        M[start : start + p * q, start : start + p * q] = block[order][:, order]
        start += p * q
    return M


@pytest.mark.parametrize("damping", ["split", "exact"])
@pytest.mark.parametrize("loss", ["least-squares", "logistic", "softmax"])
def test_it_is_the_damped_kronecker_product(loss: str, damping: str) -> None:
    at = problem(loss)
    M = KFAC(damping=damping).build(at, GAMMAS, generator())
    whole = by_hand(at, damping)
    torch.testing.assert_close(dense(M, at.parameters) @ whole, torch.eye(len(whole), dtype=DTYPE), rtol=0, atol=1e-9)


@pytest.mark.parametrize("damping", ["split", "exact"])
@pytest.mark.parametrize("layout", ["structured", "flat"])
def test_its_factors_make_it(damping: str, layout: str) -> None:
    at, plain = problem(layout=layout), problem()
    M = KFAC(damping=damping).build(at, at.layout.spread(GAMMAS), generator())
    u, v = (
        Vector(torch.randn(b.shape, generator=generator(seed), dtype=DTYPE) for b in at.parameters) for seed in (1, 2)
    )
    np.testing.assert_allclose(flat(M.solve_factor_t(M.solve_factor(v))), flat(M.solve(v)), rtol=1e-10)
    assert M.solve_factor(u).dot(v) == pytest.approx(u.dot(M.solve_factor_t(v)))
    same = KFAC(damping=damping).build(plain, GAMMAS, generator()).solve(at.layout.unpack(v))
    np.testing.assert_allclose(flat(M.solve(v)), flat(same), rtol=1e-10)
    assert [b.shape for b in M.solve(v)] == [b.shape for b in at.parameters]


def in_eigenvectors(
    at: Linearisation, factors: list[LayerFactors], probes: list[Tensor]
) -> list[tuple[Tensor, Tensor]]:
    """Q_L ⊗ Q_R of every layer, and the mean of the squared gradients in it, each case's from a graph of its own."""
    found = []
    for factor in factors:
        Q = torch.kron(torch.linalg.eigh(factor.left)[1], torch.linalg.eigh(factor.right)[1])
        squares = torch.zeros(len(Q), dtype=DTYPE)
        for i in range(at.n):
            z = at.model(at.inputs[i : i + 1])[0]
            own = [list(at.model.parameters())[k] for k in factor.positions]
            W, b = torch.autograd.grad(z, own, probes[0][i])
            squares += (Q.T @ torch.cat([W.flatten(1), b[:, None]], 1).flatten()).square() / at.n
        found.append((Q, squares))
    return found


@pytest.mark.parametrize("net", ["dense", "convolution"])
@pytest.mark.parametrize("loss", ["least-squares", "logistic"])
def test_rescaled_it_has_squares_of_gradients_as_eigenvalues(net: str, loss: str) -> None:
    if net == "dense":
        model, x = network((4, 5, 3), 0), inputs_for(8, 4, 1)
    else:
        layers = nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(4, 3)
        model, x = nn.Sequential(*layers).to(DTYPE), inputs_for(8, 6, 1)
    at = Linearisation(model, loss, x, targets_for(loss, 8, 3, 2))
    drawn = generator()
    first, second = ([at.loss_at.factor(at.signs(drawn))] for _ in range(2))
    M = KFAC(damping="rescaled").build(at, GAMMAS, generator())
    v = Vector(torch.randn(b.shape, generator=generator(3), dtype=DTYPE) for b in at.parameters)
    solved = M.solve(v)
    factors = at.kronecker_factors(first)
    for factor, (Q, squares) in zip(factors, in_eigenvectors(at, factors, second), strict=True):
        given, found = (factor.take(list(each), DTYPE).flatten() for each in (v, solved))
        expected = Q @ ((Q.T @ given) / (squares + GAMMAS[factor.positions[0]]))
        torch.testing.assert_close(found, expected)
    np.testing.assert_allclose(flat(M.solve_factor_t(M.solve_factor(v))), flat(solved), rtol=1e-9)


def test_one_dense_layer_and_one_case_are_met_exactly() -> None:
    """G of a linear layer with least squares is I ⊗ ã ãᵀ; averaged over all signs, S is I."""
    model, x, t = network((4, 3), 0), inputs_for(1, 4, 1), targets_for("least-squares", 1, 3, 2)
    at = Linearisation(model, "least-squares", x, t)
    signs = [torch.tensor([one], dtype=DTYPE) for one in np.ndindex(2, 2, 2)]
    (block,) = at.kronecker_factors([2 * one - 1 for one in signs])
    J = dense_jacobian(model, x).detach()
    order = torch.cat([torch.arange(15).reshape(3, 5)[:, :-1].reshape(-1), torch.arange(15).reshape(3, 5)[:, -1]])
    torch.testing.assert_close(torch.kron(block.left, block.right)[order][:, order], J.T @ J)


@pytest.mark.parametrize("loss", ["least-squares", "logistic", "softmax"])
def test_deltas_are_those_of_the_gauss_newton_matrix(loss: str) -> None:
    """S of the last layer approaches the mean of H over cases; its biases' block of G is just that."""
    at = problem(loss)
    J, H = dense_jacobian(at.model, at.inputs), dense_hessian(loss, at.model(at.inputs), at.targets)
    exact = ((J.T @ H @ J) / at.n).detach()[-3:, -3:]
    draws = torch.stack([at.kronecker_factors(probes_of(at, seed))[1].left for seed in range(2000)])
    error = (draws.mean(0) - exact).abs() / (draws.std(0) / 2000**0.5 + 1e-10)
    assert float(error.max()) < 4
    assert torch.linalg.norm(draws.mean(0) - exact) < 0.05 * torch.linalg.norm(exact)


@pytest.mark.parametrize("solver", [CG(), LSMR()])
@pytest.mark.parametrize("damping", ["split", "exact"])
def test_solvers_reach_the_dense_solution_with_it(solver, damping: str) -> None:
    at = problem("logistic", 20)
    mu_D = (1e-3, 0.0, 1e-3, 0.0)
    g = at.gradient + at.parameters * mu_D
    system = GaussNewtonSystem(at, g, 1e-2, mu_D, shares_cases=True)
    M = KFAC(damping=damping).build(at, system.shift, generator())
    last = solve(solver, system, None, M, [Residual(rtol=1e-12)]).last
    J, H = dense_jacobian(at.model, at.inputs), dense_hessian("logistic", at.model(at.inputs), at.targets)
    shift = torch.cat([torch.full((b.numel(),), m + 1e-2, dtype=DTYPE) for b, m in zip(at.blocks, mu_D, strict=True)])
    A = (J.T @ H @ J).detach() / at.n + torch.diag(shift)
    np.testing.assert_allclose(flat(last.x), torch.linalg.solve(A, -torch.tensor(flat(g))), rtol=1e-8)


def test_it_takes_fewer_iterations_than_the_diagonal() -> None:
    """On a layer with correlated inputs, whose curvature is a Kronecker product: there K-FAC is almost exact."""
    mix = torch.randn(12, 12, generator=generator(3), dtype=DTYPE)
    model, x = network((12, 3), 0), inputs_for(200, 12, 1) @ mix
    at = Linearisation(model, "least-squares", x, targets_for("least-squares", 200, 3, 2))
    system = GaussNewtonSystem(at, at.gradient, 1e-3, (0.0, 0.0), shares_cases=True)
    taken = {
        type(one).__name__: solve(
            CG(), system, None, one.build(at, system.shift, generator()), [Residual(rtol=1e-6)]
        ).last.k
        for one in (KFAC(probes=8, damping="exact"), ExactDiagonal())
    }
    assert taken["KFAC"] <= taken["ExactDiagonal"] / 2


# ---------------------------------------------------------------- rounding


def test_a_layer_that_no_case_reaches_is_damped_alone() -> None:
    """Dead units: S is zero, π is not defined, and M of the layer is (A + √γ I) √γ."""
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).to(DTYPE)
    with torch.no_grad():
        model[0].bias.fill_(-1e3)
    at = Linearisation(model, "least-squares", inputs_for(6, 4, 1), torch.zeros(6, 3, dtype=DTYPE))
    M = KFAC().build(at, (0.25,) * 4, generator())
    one = at.kronecker_factors(probes_of(at))[0]
    v = at.parameters.zeros_like()
    v[0][0, 0] = 1
    found = one.take(list(M.solve(v)), DTYPE)[0]
    expected = torch.linalg.inv(one.right + 0.5 * torch.eye(5, dtype=DTYPE))[0] / 0.5
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("damping", ["split", "exact"])
def test_without_damping_a_singular_factor_is_refused(damping: str) -> None:
    with pytest.raises(NonFiniteError, match="positive definite, but its smallest eigenvalue is 0.0; a larger damping"):
        KFAC(damping=damping).build(problem(cases=2), (0.0,) * 4, generator())


# ---------------------------------------------------------------- over the steps of a run


def batch(seed: int) -> Linearisation:
    model, x, t = network((4, 5, 3), 0), inputs_for(8, 4, seed), targets_for("logistic", 8, 3, seed)
    return Linearisation(model, "logistic", x, t)


def test_squares_are_kept_while_the_factors_are() -> None:
    """γ changes at every step, and squares only with the factors; a run that goes on from its state has the same."""
    settings = {"damping": "rescaled", "refresh": 3, "memory": 0.5}
    whole, other = (KFAC(**settings).begin(network((4, 5, 3), 0)) for _ in range(2))
    seen: list[Tensor] = []
    for k in range(1, 10):
        gammas = tuple(0.9**k * gamma for gamma in GAMMAS)
        later = KFAC(**settings).begin(network((4, 5, 3), 0))
        later.load_state_dict(other.state_dict())
        other = later
        M, same = (each.build(batch(k), gammas, generator(k)) for each in (whole, other))
        v = batch(k).parameters
        assert all(torch.equal(a, b) for a, b in zip(M.solve(v), same.solve(v), strict=True))
        seen.append(whole.factors[0].squares)
    assert [a is b for a, b in itertools.pairwise(seen)] == [False, False, False, True, False, True, True, False]


def test_factors_are_kept_for_the_steps_of_refresh_fewer_at_first_and_damped_anew() -> None:
    """With 3: formed at the steps 1, 2, 3, 4, 6 and 9, and kept for min(3, k // 2) steps each."""
    run, like = KFAC(refresh=3).begin(network((4, 5, 3), 0)), batch(0).parameters
    formed = {1: 1, 2: 2, 3: 3, 4: 4, 5: 4, 6: 6, 7: 6, 8: 6, 9: 9}
    for k, from_step in formed.items():
        shift, at = tuple(k * gamma for gamma in GAMMAS), batch(k)
        found = dense(run.build(at, shift, generator(k)), like)
        assert at.ledger.deltas == (len(at.inputs) if from_step == k else 0)
        expected = KFAC().build(batch(from_step), shift, generator(from_step))
        assert torch.equal(found, dense(expected, like))


def test_memory_averages_factors_as_published() -> None:
    """ε = min(1 - 1/k, memory): a plain mean at first, then an exponential average."""
    run, at = KFAC(memory=0.6).begin(network((4, 5, 3), 0)), [batch(seed) for seed in range(4)]
    averages: list[Tensor] = []
    for k, one in enumerate(at):
        run.build(one, GAMMAS, generator(k))
        new = one.kronecker_factors(probes_of(one, k))[1].left
        share = min(1 - 1 / (k + 1), 0.6)
        averages.append(new if k == 0 else share * averages[-1] + (1 - share) * new)
        torch.testing.assert_close(run.factors[1].left, averages[-1])


def test_damped_factors_are_kept_for_the_steps_of_inverses_fewer_at_first() -> None:
    """With 3: made at the steps 1, 2, 3, 4, 6, 9 and 12, after min(3, k // 2) steps each."""
    run, at = KFAC(inverses=3).begin(network((4, 5, 3), 0)), [batch(seed) for seed in range(12)]
    like, found = at[0].parameters, []
    for k, one in enumerate(at):
        before = one.ledger.algebra
        M = run.build(one, tuple((k + 1) * gamma for gamma in GAMMAS), generator(k))
        found.append((dense(M, like), one.ledger.algebra - before))
    made = [1, 2, 3, 4, 6, 9, 12]
    for step in range(1, 13):
        latest = max(one for one in made if one <= step)
        assert torch.equal(found[step - 1][0], found[latest - 1][0])
        fresh = KFAC().build(batch(latest - 1), tuple(latest * gamma for gamma in GAMMAS), generator(latest - 1))
        assert torch.equal(found[step - 1][0], dense(fresh, like))


def test_damping_of_its_own_falls_from_step_to_step_to_a_floor() -> None:
    run = KFAC(gamma=0.4, gamma_decay=0.5, min_gamma=0.15).begin(network((4, 5, 3), 0))
    for k, gamma in enumerate([0.4, 0.2, 0.15, 0.15]):
        found = dense(run.build(batch(k), GAMMAS, generator(k)), batch(k).parameters)
        expected = dense(KFAC().build(batch(k), (gamma,) * 4, generator(k)), batch(k).parameters)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("chunk", [None, 3])
def test_factors_of_a_sample_are_those_of_its_cases(chunk: int | None) -> None:
    model, x, t = network((4, 5, 3), 0), inputs_for(8, 4, 1), targets_for("logistic", 8, 3, 2)
    whole = Linearisation(model, "logistic", x, t, chunk=chunk)
    first = Linearisation(model, "logistic", x[:5], t[:5])
    found = dense(KFAC(sample=5).build(whole, GAMMAS, generator()), whole.parameters)
    torch.testing.assert_close(found, dense(KFAC().build(first, GAMMAS, generator()), whole.parameters))
    assert whole.n == 8
    more = dense(KFAC(sample=9).build(whole, GAMMAS, generator()), whole.parameters)
    assert torch.equal(more, dense(KFAC().build(whole, GAMMAS, generator()), whole.parameters))


def test_it_may_be_built_on_the_cases_of_the_gradient() -> None:
    assert [KFAC(batch=batch).cases for batch in ("curvature", "gradient")] == ["curvature", "gradient"]


def test_bfloat16_is_for_split_damping_on_a_device_with_units_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="precision: must be parameters where damping is exact, but is auto"):
        KFAC(damping="exact", precision="auto")
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    at = problem()
    with pytest.raises(ConfigError, match="precision: bfloat16 needs matrix units.*Take 'auto'"):
        KFAC(precision="bfloat16").begin(at.model)
    plain, auto = (KFAC(precision=name).build(at, GAMMAS, generator()) for name in ("parameters", "auto"))
    assert all(torch.equal(a, b) for a, b in zip(plain.solve(at.gradient), auto.solve(at.gradient), strict=True))


def test_products_in_bfloat16_leave_narrow_layers_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """120 × 100 weights are rounded to 8 bits, 3 × 120 are not."""
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    model, x = network((99, 120, 3), 0, torch.float32), inputs_for(20, 99, 1, torch.float32)
    at = Linearisation(model, "least-squares", x, targets_for("least-squares", 20, 3, 2, torch.float32))
    exact, rough = (
        KFAC(precision=name).build(at, GAMMAS, generator()).solve(at.gradient) for name in ("parameters", "bfloat16")
    )
    assert {block.dtype for block in rough} == {torch.float32}
    assert not torch.equal(exact[0], rough[0])
    assert (exact[0] - rough[0]).norm() <= 0.02 * exact[0].norm()
    assert torch.equal(exact[2], rough[2])


@pytest.mark.parametrize(
    "settings",
    [
        {"inverses": 4}, {"inverses": 4, "refresh": 2, "memory": 0.5}, {"gamma": 0.3, "gamma_decay": 0.5},
        {"inverses": 3, "damping": "exact"}, {"inverses": 3, "damping": "rescaled"},
    ],
)  # fmt: skip
def test_a_run_that_goes_on_from_its_state_builds_the_same(settings: dict) -> None:
    model = network((4, 5, 3), 0)
    whole, first, later = (KFAC(**settings).begin(model) for _ in range(3))
    for k in range(9):
        shift = tuple((k + 1) * gamma for gamma in GAMMAS)
        if k == 5:
            later.load_state_dict(first.state_dict())
        ours = (first if k < 5 else later).build(one := batch(k), shift, generator(k))
        theirs = whole.build(two := batch(k), shift, generator(k))
        assert torch.equal(dense(ours, one.parameters), dense(theirs, two.parameters))
        assert one.ledger.state_dict() == two.ledger.state_dict()


def test_a_decay_without_a_damping_of_its_own_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"gamma: must be given"):
        KFAC(gamma_decay=0.9)
    with pytest.raises(ConfigError, match=r"gamma: must be given"):
        KFAC(min_gamma=0.1)


# ---------------------------------------------------------------- what it refuses, and what it costs


@pytest.mark.parametrize("damping", ["split", "exact"])
def test_other_layers_have_the_diagonal_of_their_block(damping: str) -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3)).to(DTYPE)
    at = Linearisation(model, "logistic", inputs_for(8, 4, 1), targets_for("logistic", 8, 3, 2))
    gammas = (0.3, 0.2, 0.4, 0.6, 0.1, 0.05)
    M = KFAC(damping=damping).build(at, gammas, generator())
    squares = at.squared_sums(*probes_of(at)) * (1 / 8)
    v = Vector(torch.randn(b.shape, generator=generator(5), dtype=DTYPE) for b in at.parameters)
    solved = M.solve(v)
    for i in (2, 3):
        torch.testing.assert_close(solved[i], v[i] / (squares[i] + gammas[i]))
        torch.testing.assert_close(M.solve_factor_t(M.solve_factor(v))[i], solved[i])
    others = Vector(block if i in (2, 3) else torch.zeros_like(block) for i, block in enumerate(v))
    assert all(not block.any() for i, block in enumerate(M.solve(others)) if i not in (2, 3))


@pytest.mark.parametrize(
    "settings", [{"memory": 0.8, "refresh": 2, "inverses": 3}, {"memory": 0.5, "damping": "exact"}]
)
def test_steps_of_a_model_with_other_layers_go_on_from_a_state(settings: dict[str, object]) -> None:
    """A transformer's block, say: after two steps and a load the third is the same, bit for bit."""

    def optimizer() -> HessianFree:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3)).to(DTYPE)
        return HessianFree(model, loss="least-squares", preconditioner={"use": "kfac", **settings})

    x, t = inputs_for(9, 4, 1), targets_for("least-squares", 9, 3, 2)
    one, other = optimizer(), optimizer()
    first = one.step(x, t).objective_before
    one.step(x, t)
    other.model.load_state_dict(one.model.state_dict())
    other.load_state_dict(one.state_dict())
    assert one.step(x, t).objective_before < first
    other.step(x, t)
    for ours, theirs in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_model_without_a_layer_for_it_is_named_when_the_optimiser_is_made() -> None:
    with pytest.raises(ConfigError, match=r"itself \(LayerNorm\).*Use chapelle-erhan, martens or exact-diagonal"):
        HessianFree(nn.LayerNorm(4), preconditioner="kfac")


def test_a_layer_called_twice_is_named_at_the_first_step() -> None:
    optimizer = HessianFree(Twice().to(DTYPE), loss="least-squares", preconditioner="kfac")
    with pytest.raises(ConfigError, match=r"'layer' \(Linear\) is called more than once.*Use chapelle-erhan, martens"):
        optimizer.step(inputs_for(5, 4, 1), inputs_for(5, 4, 2))


@pytest.mark.parametrize(
    ("damping", "built_from", "formed", "pairs"), [("split", 1 / 6, 1 / 3, 1), ("exact", 4.5, 0, 2)]
)
def test_builds_and_solves_are_counted(damping: str, built_from: float, formed: float, pairs: int) -> None:
    """In forward passes of one case, 43 multiplications: decompositions and inverses of m³ each, and the products."""
    at, twin = problem(), problem()
    twin.kronecker_factors(probes_of(twin))
    cubes, products = (5**3 + 5**3 + 3**3 + 6**3) / 43, (25 * 10 + 18 * 9) / 43
    M = KFAC(damping=damping).build(at, GAMMAS, generator())
    assert at.ledger.algebra == twin.ledger.algebra + round(built_from * cubes)
    built, half = at.ledger.algebra, round(pairs / 2 * products)
    M.solve_factor(at.parameters)
    assert at.ledger.algebra == built + half
    for _ in range(2):
        before = at.ledger.algebra
        M.solve(at.parameters)
    assert at.ledger.algebra == before + round(pairs * products)
    assert at.ledger.algebra == built + half + 2 * round(pairs * products) + round(formed * cubes)


@pytest.mark.parametrize("damping", ["split", "exact"])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_convolution_of_one_window_is_a_dense_layer(transposed: bool, damping: str) -> None:
    """Whose kernel covers the picture, or whose input is one point: the same M⁻¹v, entries in another order."""
    x = inputs_for(6, 4 if transposed else 12, 1)
    dense_layer = nn.Linear(x.shape[1], 12 if transposed else 4, bias=not transposed, dtype=DTYPE)
    if transposed:
        conv = nn.Sequential(nn.Unflatten(1, (4, 1, 1)), nn.ConvTranspose2d(4, 2, (2, 3), bias=False), nn.Flatten())
    else:
        conv = nn.Sequential(nn.Unflatten(1, (2, 2, 3)), nn.Conv2d(2, 4, (2, 3)), nn.Flatten())
    with torch.no_grad():
        for ours, theirs in zip(dense_layer.parameters(), conv.to(DTYPE).parameters(), strict=True):
            theirs.copy_((ours.T if transposed else ours).reshape(theirs.shape))
    solved = []
    for model in (nn.Sequential(dense_layer), conv):
        at = Linearisation(model, "least-squares", x, torch.zeros_like(model(x).detach()))
        v = at.gradient
        solved.append(KFAC(damping=damping).build(at, (0.3,) * len(v), generator()).solve(v))
    for ours, theirs in zip(*solved, strict=True):
        torch.testing.assert_close((ours.T if transposed else ours).reshape(theirs.shape), theirs)
