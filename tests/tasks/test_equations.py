"""The five equations: solutions satisfy them and their conditions, and are as accurate as they say."""

from __future__ import annotations

import hashlib
import math
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor
from torch.func import hessian, jacrev, vmap

from hfbench.tasks import allen_cahn, burgers, heat_1d, helmholtz, poisson_2d
from hfbench.tasks.collocation import Equation

DTYPE = torch.float64
EXACT = [poisson_2d, heat_1d, helmholtz, burgers]
ALL = [*EXACT, allen_cahn]


def name_of(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def inner_points(equation: Equation, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    low, high = (torch.tensor(end, dtype=DTYPE) for end in (equation.low, equation.high))
    return low + (high - low) * (0.02 + 0.96 * torch.rand(count, len(low), generator=generator, dtype=DTYPE))


@pytest.mark.parametrize("module", EXACT, ids=name_of)
def test_the_solution_satisfies_the_equation(module: ModuleType) -> None:
    """By automatic differentiation of the solution itself."""
    equation: Equation = module.EQUATION

    def u(x: Tensor) -> Tensor:
        return equation.solution(x[None])[0]

    x = inner_points(equation, 200)
    du, second = vmap(jacrev(u))(x), vmap(hessian(u))(x).diagonal(dim1=1, dim2=2)
    ddu = second @ torch.tensor(equation.kappa, dtype=DTYPE)
    residual = equation.operator(x, equation.solution(x), du, ddu)
    size = du.abs().max() + ddu.abs().max()
    assert residual.abs().max() <= 1e-10 * size


@pytest.mark.parametrize("module", ALL, ids=name_of)
def test_the_solution_satisfies_the_conditions(module: ModuleType) -> None:
    equation: Equation = module.EQUATION
    points = equation._known(equation.points_on(equation.faces, 200, torch.Generator().manual_seed(0))).double()
    difference = (equation.solution(points) - equation.condition(points)).abs().max()
    assert difference <= 1e-12


def test_burgers_is_computed_to_all_digits() -> None:
    points = burgers.EQUATION.test_points.double()
    finer = burgers.cole_hopf(points, 3201, 20.0)
    assert (burgers.EQUATION.solution(points) - finer).abs().max() <= 1e-14


def test_burgers_has_the_published_slope() -> None:
    """Basdevant et al. (1986), table 3: |∂u/∂x| at x = 0 is largest at πt = 1.6037, where it is 152.00516."""
    x = torch.zeros(1, 2, dtype=DTYPE)
    slopes = []
    for time in (1.6037 / math.pi - 1e-3, 1.6037 / math.pi, 1.6037 / math.pi + 1e-3):
        x[0, 1] = time
        slopes.append(-float(jacrev(lambda at: burgers.EQUATION.solution(at)[0])(x)[0, 0]))
    assert slopes[1] == pytest.approx(152.00516, abs=2e-4)
    assert slopes[1] > max(slopes[0], slopes[2])


def test_allen_cahn_agrees_with_another_method() -> None:
    """Finite differences of second order on two grids, extrapolated, by an implicit method for stiff equations."""
    found = []
    for cells in (256, 512):
        x = np.linspace(-1.0, 1.0, cells + 1)
        h = x[1] - x[0]

        def rate(t: float, u: np.ndarray, h: float = h) -> np.ndarray:
            padded = np.concatenate([u[1:2], u, u[-2:-1]])  # mirrored, so that the slope is zero
            return allen_cahn.KAPPA * np.diff(padded, 2) / h**2 + 5 * u - 5 * u**3

        start = x**2 * np.cos(np.pi * x)
        ends = solve_ivp(rate, (0, 1), start, "LSODA", rtol=1e-8, atol=1e-10, lband=1, uband=1, t_eval=[0.25, 1.0])
        found.append(ends.y[:: 1 if cells == 256 else 2])
    extrapolated = (4 * found[1] - found[0]) / 3
    points = torch.cartesian_prod(torch.linspace(-1, 1, 257, dtype=DTYPE), torch.tensor([0.25, 1.0], dtype=DTYPE))
    reference = allen_cahn.EQUATION.solution(points).view(257, 2).numpy()
    relative = np.linalg.norm(extrapolated - reference, axis=0) / np.linalg.norm(reference, axis=0)
    assert relative.max() < 1e-4


def test_allen_cahn_is_as_accurate_as_it_says() -> None:
    points = allen_cahn.EQUATION.test_points.double()
    reference = allen_cahn.EQUATION.solution(points)
    later = points[:, 1] > 0
    finer = allen_cahn.series_at(points[later], allen_cahn.reference(2 * allen_cahn.TERMS, allen_cahn.STEPS))
    stepped = allen_cahn.series_at(points[later], allen_cahn.reference(allen_cahn.TERMS, 2 * allen_cahn.STEPS))
    for other, allowed in ((finer, 1e-7), (stepped, 2e-9)):
        assert (other - reference[later]).norm() <= allowed * reference.norm()


@pytest.mark.parametrize(
    ("module", "digest"),
    [
        (poisson_2d, "f4c1268602825792"),
        (heat_1d, "9e73063d561b42ee"),
        (helmholtz, "81d2ab481ff45e0e"),
        (burgers, "c196a9470934046a"),
        (allen_cahn, "9f3d7442715b098e"),
    ],
    ids=lambda given: name_of(given) if isinstance(given, ModuleType) else "",
)
def test_solutions_stay_what_they_are(module: ModuleType, digest: str) -> None:
    """A checksum of the solution on the test grid, to six digits, which no platform's rounding changes."""
    values = module.EQUATION.solution(module.EQUATION.test_points.double())
    rounded = np.round(values.numpy(), 6) + 0.0
    assert hashlib.sha256(rounded.astype(np.float64).tobytes()).hexdigest()[:16] == digest
