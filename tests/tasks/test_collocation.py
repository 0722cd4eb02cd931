"""Residual networks: derivatives against automatic differentiation, weights of the rows, points, errors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import hessian, jacrev, vmap

from hfbench.curvature.linearisation import Linearisation
from hfbench.parts import TaskData, part
from hfbench.tasks import allen_cahn, burgers, heat_1d, helmholtz, poisson_2d
from hfbench.tasks.collocation import Equation, ResidualNetwork, ResidualTask

DTYPE = torch.float64
EQUATIONS = {
    module.__name__.rpartition(".")[2]: module.EQUATION
    for module in (poisson_2d, heat_1d, helmholtz, burgers, allen_cahn)
}


def data_of(
    equation: Equation, interior: int, boundary: int, weight: float, validation: int, seed: int = 0
) -> TaskData:
    """Those of a task with this equation."""

    @part
    class Own(ResidualTask):
        """A task of the test's."""

    Own.equation = equation
    task = Own(interior=interior, boundary=boundary, weight=weight, validation=validation)  # type: ignore[call-arg]
    return task.load(draws(seed))


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(equation: Equation) -> ResidualNetwork:
    """One with biases, too."""
    model = ResidualNetwork(equation, (7, 6), draws()).to(DTYPE)
    for p in model.parameters():
        p.data.add_(0.3 * torch.randn(p.shape, generator=draws(2), dtype=DTYPE))
    return model


def plain(model: ResidualNetwork, x: Tensor) -> Tensor:
    """u at one point, as a network is usually written."""
    h = x
    for index, layer in enumerate(model.layers):
        assert isinstance(layer, torch.nn.Linear)
        h = layer.weight[:, :-1] @ h + layer.weight[:, -1]
        h = h.tanh() if index < len(model.layers) - 1 else h
    return h[0]


def by_autodiff(model: ResidualNetwork, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    u = vmap(lambda x: plain(model, x))(points)
    du = vmap(jacrev(lambda x: plain(model, x)))(points)
    ddu = vmap(hessian(lambda x: plain(model, x)))(points).diagonal(dim1=1, dim2=2) @ model.kappa
    return u, du, ddu


@pytest.mark.parametrize("name", EQUATIONS)
def test_derivatives_are_those_of_automatic_differentiation(name: str) -> None:
    model = network(EQUATIONS[name])
    points = EQUATIONS[name].points(20, draws(1)).to(DTYPE)
    for found, want in zip(model.derivatives(points), by_autodiff(model, points), strict=True):
        torch.testing.assert_close(found, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", EQUATIONS)
def test_outputs_are_the_weighted_residuals(name: str) -> None:
    equation, model = EQUATIONS[name], network(EQUATIONS[name])
    points = equation.points(20, draws(1)).to(DTYPE)
    weights = torch.randn(20, 4, generator=draws(3), dtype=DTYPE)
    u, du, ddu = by_autodiff(model, points)
    a, b, c, e = weights.unbind(1)
    want = a * equation.operator(points, u, du, ddu) + b * (u - equation.condition(points)) + c * du[:, 0] + e * u
    torch.testing.assert_close(model(torch.cat([points, weights], 1))[:, 0], want, rtol=1e-10, atol=1e-12)


def test_parameters_are_differentiated_alike_without_gradients_and_in_products() -> None:
    """J v and Jᵀu of a linearisation are those of the residuals by automatic differentiation."""
    equation, model = EQUATIONS["burgers"], network(EQUATIONS["burgers"])
    data = data_of(equation, 12, 6, 2.0, 5, seed=4)
    x, t = data.train.inputs.to(DTYPE), data.train.targets.to(DTYPE)
    with torch.no_grad():
        without = model(x)
    torch.testing.assert_close(without, model(x).detach())
    at = Linearisation(model, "least-squares", x, t)
    names = [name for name, _ in model.named_parameters()]

    def z(*weights: Tensor) -> Tensor:
        return torch.func.functional_call(model, dict(zip(names, weights, strict=True)), (x,))[:, 0]

    weights = tuple(p.detach() for p in model.parameters())
    v = tuple(torch.randn(p.shape, generator=draws(5), dtype=DTYPE) for p in weights)
    want = torch.func.jvp(z, weights, v)[1]
    torch.testing.assert_close(at.jvp(v)[:, 0], want, rtol=1e-10, atol=1e-11)
    u = torch.randn(18, 1, generator=draws(6), dtype=DTYPE)
    back = torch.func.vjp(z, *weights)[1](u[:, 0])
    for found, expected in zip(at.vjp(u), back, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-11)


# ---------------------------------------------------------------- data


def of(kind: int, data: TaskData) -> Tensor:
    """Points of the rows with a weight of this kind."""
    rows = data.train.inputs
    return rows[rows[:, 2 + kind] != 0, :2]


@pytest.mark.parametrize("name", EQUATIONS)
def test_rows_have_the_points_of_the_equation_and_of_its_conditions(name: str) -> None:
    equation = EQUATIONS[name]
    data = data_of(equation, 50, 24, 3.0, 40)
    interior, conditions, slopes = (of(kind, data) for kind in range(3))
    assert len(interior) == 50
    assert len(conditions) + len(slopes) == 24
    assert bool(len(slopes)) is bool(equation.slopes)
    ends = torch.tensor([equation.low, equation.high])
    for points, faces in ((conditions, equation.faces), (slopes, equation.slopes)):
        on = [points[:, axis] == ends[end, axis] for axis, end in faces]
        assert all(face.any() for face in on), "every face has points"
        assert not len(points) or torch.stack(on).any(0).all(), "every point is on a face"
    low, high = torch.tensor(equation.low), torch.tensor(equation.high)
    assert ((interior >= low) & (interior <= high)).all()
    assert (data.train.targets == 0).all()


def test_the_objective_is_the_sum_of_two_means() -> None:
    equation, model = EQUATIONS["poisson_2d"], network(EQUATIONS["poisson_2d"])
    data = data_of(equation, 50, 24, 3.0, 40)
    interior, boundary = of(0, data).to(DTYPE), of(1, data).to(DTYPE)
    z = model(data.train.inputs.to(DTYPE))
    u, du, ddu = model.derivatives(interior)
    equations = equation.operator(interior, u, du, ddu).square().mean()
    conditions = (model.derivatives(boundary)[0] - equation.condition(boundary)).square().mean()
    torch.testing.assert_close(z.square().mean(), equations + 3 * conditions, rtol=1e-6, atol=0.0)  # float32 weights


def test_values_are_the_solution_at_the_rounded_points() -> None:
    equation = EQUATIONS["poisson_2d"]
    data = data_of(equation, 50, 24, 3.0, 40)
    for split, count in ((data.validation, 40), (data.test, 65 * 65)):
        assert len(split) == count
        points = split.inputs[:, :2].double()
        torch.testing.assert_close(split.targets[:, 0], equation.solution(points).float(), rtol=0, atol=0)
        assert split.inputs[:, 2:].tolist() == [[0, 0, 0, 1]] * count
    corner, middle = data.test.inputs[0, :2].tolist(), data.test.inputs[32 * 65 + 32, :2].tolist()
    assert (corner, middle) == ([0, 0], [0.5, 0.5])


def test_errors_are_relative_to_the_mean_square_of_the_solution() -> None:
    """The root of their mean over the test points is ‖u - u*‖/‖u*‖, whatever the chunks."""
    task, data = poisson_2d.Poisson2D(), poisson_2d.Poisson2D().load(draws())
    exact = data.test.targets.double()
    errors = task.error(1.01 * exact, exact)
    assert errors.shape == (65 * 65,)
    assert errors.mean().sqrt() == pytest.approx(0.01, rel=1e-6)
    assert task.error_is_root


def test_times_are_moved_to_where_the_solution_is_known() -> None:
    points = EQUATIONS["allen_cahn"].known_points(200, draws())
    assert torch.equal((points[:, 1] * 64).round(), points[:, 1] * 64)
    assert points[:, 1].unique().numel() > 50
