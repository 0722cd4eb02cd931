"""Nonlinear least squares at points, against SciPy on the same problems, and what it refuses."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from torch import Tensor, nn

import hfbench
from hfbench.curvature.linearisation import Linearisation
from hfbench.errors import ConfigError, NonFiniteError
from hfbench.tasks.poisson_2d import Poisson2D

DTYPE = torch.float64
X = torch.linspace(0.0, 4.0, 60, dtype=DTYPE)
Y = 2.5 * torch.exp(-1.3 * X) + 0.5 + 0.01 * torch.sin(20 * X)  # misfit: the residual is not zero at the end


def decay(w: Tensor, points: Tensor) -> Tensor:
    x, y = points[:, 0], points[:, 1]
    return w[0] * torch.exp(-w[1] * x) + w[2] - y


def circles(w: Tensor, points: Tensor) -> Tensor:
    """Two residuals a point: the distances to a centre, and to another one."""
    return torch.stack([(points - w[:2]).norm(dim=1) - w[2], (points - w[3:5]).norm(dim=1) - 2 * w[2]], 1)


ANGLES = torch.linspace(0, 6, 25, dtype=DTYPE)
RING = torch.stack([1 + 2 * ANGLES.cos(), -0.5 + 2 * ANGLES.sin()], 1) + 0.05 * torch.sin(9 * ANGLES)[:, None]
PROBLEMS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Tensor, Tensor]] = {
    "decay": (decay, torch.stack([X, Y], 1), torch.tensor([1.0, 1.0, 0.0], dtype=DTYPE)),
    "circles": (circles, RING, torch.tensor([0.5, 0.0, 1.0, 3.0, 0.0], dtype=DTYPE)),
}


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("solver", [None, "dense", "dual"])
def test_it_ends_where_scipy_does(name: str, solver: str | None) -> None:
    residual, points, w = PROBLEMS[name]
    kept = w.clone()
    fit = hfbench.minimize_residual(residual, points, w, solver=solver, steps=200)
    reference = least_squares(
        lambda at: residual(torch.from_numpy(at), points).numpy().ravel(), w.numpy(), xtol=1e-14, ftol=1e-14, gtol=1e-14
    )
    assert fit.objective == pytest.approx(reference.cost / len(points), rel=1e-9)
    assert isinstance(fit.parameters, Tensor)
    np.testing.assert_allclose(fit.parameters.numpy(), reference.x, rtol=1e-4, atol=1e-6)
    assert fit.reason in ("gradient", "objective")
    assert torch.equal(w, kept), "the start is not changed"
    falls = [step.objective_before for step in fit.steps]
    assert all(later <= earlier for earlier, later in zip(falls, falls[1:], strict=False))


def test_a_module_is_trained_in_place() -> None:
    task = Poisson2D(layers=(12,), interior=60, boundary=24)
    data = task.load(torch.Generator().manual_seed(0))
    model = task.model(torch.Generator().manual_seed(1)).double()
    fit = hfbench.minimize_residual(model, data.train.inputs.double(), steps=60)
    assert fit.parameters is model
    with torch.no_grad():
        found = task.error(model(data.test.inputs.double()), data.test.targets.double())
    assert float(found.mean().sqrt()) < 0.02
    assert fit.objective < 1e-3 * fit.steps[0].objective_before


def test_it_ends_after_so_many_steps() -> None:
    residual, points, w = PROBLEMS["decay"]
    fit = hfbench.minimize_residual(residual, points, w, steps=2)
    assert (len(fit.steps), fit.reason) == (2, "steps")


def test_an_exact_fit_ends_by_its_gradient() -> None:
    x = torch.linspace(0, 1, 9, dtype=DTYPE)[:, None]
    fit = hfbench.minimize_residual(lambda w, x: w[0] * x[:, 0] - 3 * x[:, 0], x, torch.zeros(1, dtype=DTYPE))
    assert isinstance(fit.parameters, Tensor)
    assert float(fit.parameters[0]) == pytest.approx(3.0, rel=1e-9)
    assert fit.reason in ("gradient", "objective")


def test_many_residuals_take_lsmr() -> None:
    residual, points, w = PROBLEMS["decay"]
    many = points.repeat(100, 1)
    fit = hfbench.minimize_residual(residual, many, w, steps=3)
    assert fit.steps[0].inner_iterations >= 1
    few = hfbench.minimize_residual(residual, points, w, steps=3)
    assert few.steps[0].stop_reason == "solved"
    assert fit.steps[0].stop_reason != "solved"


def test_what_it_refuses() -> None:
    residual, points, w = PROBLEMS["decay"]
    with pytest.raises(ConfigError, match="^w: must be a tensor, the parameters of the function"):
        hfbench.minimize_residual(residual, points)
    with pytest.raises(ConfigError, match="^w: must not be given beside a module"):
        hfbench.minimize_residual(nn.Linear(2, 1).double(), points, w)
    for wrong in (lambda w, x: w.sum(), lambda w, x: w, lambda w, x: [w]):
        with pytest.raises(ConfigError, match="^residual: must give a row for each of the 60 points, but gave"):
            hfbench.minimize_residual(wrong, points, w)
    with pytest.raises(ConfigError, match="steps"):
        hfbench.minimize_residual(residual, points, w, steps=0)
    with pytest.raises(NonFiniteError, match="must be finite"):
        hfbench.minimize_residual(lambda w, x: x[:, 0] / (w[0] * 0), points, w)


def in_two_units(unit: float, dtype: torch.dtype) -> Tensor:
    """Points, of which every second has residuals of another unit."""
    units = torch.where(torch.arange(len(X)) % 2 == 0, 1.0, unit)
    return torch.stack([X, Y, units.double()], 1).to(dtype)


def scaled(w: Tensor, points: Tensor) -> Tensor:
    return points[:, 2] * decay(w, points)


@pytest.mark.parametrize(("unit", "dtype"), [(1e-13, torch.float64), (1e-5, torch.float32)])
def test_rows_of_another_scale_are_said(unit: float, dtype: torch.dtype) -> None:
    points, start = in_two_units(unit, dtype), torch.tensor([1.0, 1.0, 0.0], dtype=dtype)
    with pytest.warns(UserWarning, match=r"rows of its Jacobian should be of one scale, but differ by \de\+"):
        hfbench.minimize_residual(scaled, points, start, steps=1)


@pytest.mark.parametrize(("unit", "dtype"), [(1e-8, torch.float64), (1e-1, torch.float32)])
def test_rows_of_usual_scales_are_not(unit: float, dtype: torch.dtype) -> None:
    points, start = in_two_units(unit, dtype), torch.tensor([1.0, 1.0, 0.0], dtype=dtype)
    with warnings.catch_warnings(record=True) as said:
        hfbench.minimize_residual(scaled, points, start, steps=1)
    assert not said


def test_rows_are_compared_where_a_point_has_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their products are a matrix of at most so many rows, not of so many points."""
    sizes = []

    def gram(at: Linearisation, scales: list[float]) -> Tensor:
        sizes.append(at.outputs.numel())
        return torch.ones(sizes[-1], sizes[-1])

    monkeypatch.setattr(Linearisation, "row_gram", gram)
    for m in (300, 6000):
        points = torch.rand(40, m, generator=torch.Generator().manual_seed(0), dtype=DTYPE)
        hfbench.minimize_residual(lambda w, x: w * x - 1, points, torch.zeros(1, dtype=DTYPE), solver="lsmr", steps=1)
    assert sizes == [300]
