"""Physics-informed networks: residuals of a differential equation at points, a network with its derivatives, errors.

Case      a row of d coordinates x and four weights a, b, c, e; the model's output is the weighted residual
              z = a (N[u](x) - f(x)) + b (u(x) - g(x)) + c ∂u/∂x_1 + e u(x)
          of the equation N[u] = f, of a condition u = g at boundary or start, of a vanishing slope, or the value of u
Loss      ½ z², targets 0: over n rows of which n_a are of the equation, and with the weights below, the objective is
              ½ mean (N[u] - f)² + ½ w mean (u - g)²         a² = n/n_a,  b² = c² = w n/(n - n_a)
Network   u(x), tanh units, and in the same pass the derivatives ∂_j u and the second derivative Σ_j κ_j ∂_jj u
          ("forward Laplacian": Li et al. (2023), arXiv 2307.08214). Value and derivatives are rows of one dense layer
              y = tanh(a),   ∂_j y = (1 - y²) ∂_j a,   y'' = (1 - y²) a'' - 2y (1 - y²) Σ_j κ_j (∂_j a)²
          whose last input is 1 for the value and 0 for the derivatives, so that its last column is the bias
Error     (u - u*)²/mean u*², and the error of a split is the root of its mean: the relative L2 error
A task derives from `ResidualTask` and says which equation it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from hfbench.parts import DataFile, Field, Split, TaskData, Within, part

from .common import Decay, DecayMask, Target, checked_layers

Layers = Annotated[Sequence[int], "units of the hidden layers"]
Interior = Annotated[int, Within("[1, inf)"), "points at which the equation is to hold"]
Boundary = Annotated[int, Within("[1, inf)"), "points at which boundary and initial conditions are to hold"]
ConditionWeight = Annotated[float, Within("(0, inf)"), "weight w of the conditions in the objective"]
ValidationPoints = Annotated[int, Within("[1, inf)"), "points of the validation error, drawn at random"]

Operator = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # N[u] - f of x, u, ∂u and Σ κ ∂∂u, all n × …
Function = Callable[[Tensor], Tensor]  # n × d to n, in the dtype of the points

Face = tuple[int, int]  # an axis, and 0 for its low end or 1 for its high one


@dataclass(frozen=True)
class Equation:
    """N[u] = f in a box, u = g on some faces, ∂u/∂x_1 = 0 on others; in time as in space."""

    low: Sequence[float]
    high: Sequence[float]
    kappa: Sequence[float]  # of the second derivative
    operator: Operator  # N[u] - f
    condition: Function  # g
    solution: Function  # u*, in float64
    faces: Sequence[Face]
    slopes: Sequence[Face] = ()
    sides: Sequence[int] = (65, 65)  # of the test grid
    axes: tuple[str, str] = ("x", "y")  # names of the coordinates
    levels: int | None = None  # times at which the solution is known: multiples of 1/levels

    @cached_property
    def test_points(self) -> Tensor:
        """The grid, ends included, the last coordinate running fastest."""
        ends = zip(self.low, self.high, self.sides, strict=True)
        axes = [torch.linspace(low, high, side, dtype=torch.float64) for low, high, side in ends]
        return self._known(torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(self.low)))

    @cached_property
    def mean_square(self) -> float:
        """Mean of u*² over the test grid."""
        return float(self.solution(self.test_points).square().mean())

    def points(self, count: int, generator: torch.Generator) -> Tensor:
        """Points at random in the box."""
        low, high = torch.tensor(self.low), torch.tensor(self.high)
        return low + (high - low) * torch.rand(count, len(low), generator=generator)

    def points_on(self, faces: Sequence[Face], count: int, generator: torch.Generator) -> Tensor:
        """Points at random on the faces in turn."""
        points, ends = self.points(count, generator), (self.low, self.high)
        for index, (axis, end) in enumerate(faces):
            points[index :: len(faces), axis] = ends[end][axis]
        return points

    def known_points(self, count: int, generator: torch.Generator) -> Tensor:
        """Points at random where the solution is known."""
        return self._known(self.points(count, generator))

    def _known(self, points: Tensor) -> Tensor:
        """The points with their times moved to the nearest level, rounded to float32."""
        points = points.float()
        if self.levels is not None:
            points[:, -1] = (points[:, -1] * self.levels).round() / self.levels
        return points


class ResidualNetwork(nn.Module):
    """Rows (cases × (d + 4)) to z (cases × 1)."""

    def __init__(self, equation: Equation, layers: Sequence[int], generator: torch.Generator) -> None:
        super().__init__()
        self.operator, self.condition = equation.operator, equation.condition
        self.dimensions = len(equation.low)
        self.layers = nn.ModuleList(
            _layer(fan_in, units, generator) for fan_in, units in pairwise((self.dimensions, *layers, 1))
        )
        d, rows = self.dimensions, self.dimensions + 2
        self.directions: Tensor  # ∂_j x and x'': constant
        self.register_buffer("directions", torch.eye(rows - 1, d + 1), persistent=False)
        self.directions[d] = 0.0
        self.is_value: Tensor
        self.register_buffer("is_value", torch.eye(rows, 1), persistent=False)
        self.kappa: Tensor
        self.register_buffer("kappa", torch.tensor(equation.kappa, dtype=torch.float32), persistent=False)

    def forward(self, cases: Tensor) -> Tensor:
        """z."""
        x, weights = cases[:, : self.dimensions], cases[:, self.dimensions :]
        u, du, ddu = self.derivatives(x)
        residuals = self.operator(x, u, du, ddu), u - self.condition(x), du[:, 0], u
        return (weights * torch.stack(residuals, 1)).sum(1, keepdim=True)

    def derivatives(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """u (n), ∂u (n × d) and Σ_j κ_j ∂_jj u (n) at points (n × d)."""
        n, d = x.shape
        value = torch.cat([x, x.new_ones(n, 1)], 1)
        rows = torch.cat([value.unsqueeze(1), self.directions.expand(n, -1, -1)], 1)
        *hidden, last = self.layers
        for layer in hidden:
            rows = torch.cat([self._activated(layer(rows)), self.is_value.expand(n, -1, -1)], 2)
        u = last(rows).squeeze(2)
        return u[:, 0], u[:, 1 : d + 1], u[:, d + 1]

    def _activated(self, rows: Tensor) -> Tensor:
        """The rows of tanh of a layer's units."""
        value, slopes, second = rows[:, :1], rows[:, 1:-1], rows[:, -1:]
        y = value.tanh()
        slope = 1 - y * y
        squares = (self.kappa.view(1, -1, 1) * slopes * slopes).sum(1, keepdim=True)
        return torch.cat([y, slope * slopes, slope * (second - 2 * y * squares)], 1)


def _layer(fan_in: int, units: int, generator: torch.Generator) -> nn.Linear:
    """A dense layer, Glorot's (2010) normal weights; the last input's column is the bias, zero at the start."""
    with torch.random.fork_rng(devices=[]):  # nn.Linear's own initialisation draws from the global generator
        layer = nn.Linear(fan_in + 1, units, bias=False, dtype=torch.float32)
    with torch.no_grad():
        layer.weight.normal_(0.0, (2 / (fan_in + units)) ** 0.5, generator=generator)
        layer.weight[:, -1] = 0.0
    return layer


def zero(x: Tensor) -> Tensor:
    """g = 0."""
    return torch.zeros_like(x[:, 0])


@part
class ResidualTask:
    """Settings, data, network and error of an equation's task."""

    equation: ClassVar[Equation]
    loss: ClassVar[str] = "least-squares"
    files: ClassVar[tuple[DataFile, ...]] = ()
    budget: ClassVar[Mapping[str, float]] = {"passes": 2000.0}
    error_is_root: ClassVar[bool] = True

    layers: Layers = (32, 32)
    interior: Interior = 900
    boundary: Boundary = 240
    weight: ConditionWeight = 1.0
    decay: Decay = 0.0
    decay_mask: DecayMask = "weights"
    target: Target = 1e-4
    validation: ValidationPoints = 1000

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", checked_layers(self.layers))

    def load(self, generator: torch.Generator, data: str | None = None) -> TaskData:
        """Rows of the equation and its conditions at random points, and the solution at points of validation and test.

        A share of the boundary's points in proportion to their number has the conditions on slopes, if there are any.
        `generator` draws points of training and validation.
        """
        equation, interior, boundary = self.equation, self.interior, self.boundary
        with_slope = round(boundary * len(equation.slopes) / (len(equation.faces) + len(equation.slopes)))
        a, b = (1 + boundary / interior) ** 0.5, (self.weight * (1 + interior / boundary)) ** 0.5
        rows = [
            _rows(equation.points(interior, generator), a, 0, 0, 0),
            _rows(equation.points_on(equation.faces, boundary - with_slope, generator), 0, b, 0, 0),
            _rows(equation.points_on(equation.slopes, with_slope, generator), 0, 0, b, 0),
        ]
        train = Split(torch.cat(rows), torch.zeros(interior + boundary, 1))
        held_out = _values(equation, equation.known_points(self.validation, generator))
        return TaskData(train, held_out, _values(equation, equation.test_points))

    def model(self, generator: torch.Generator) -> nn.Module:
        """The network with its derivatives; outputs are weighted residuals."""
        return ResidualNetwork(self.equation, self.layers, generator)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(u - u*)²/mean u*² per case: (cases × 1) to (cases,)."""
        return (outputs - targets).square().squeeze(1) / self.equation.mean_square

    def field(self, outputs: Tensor, targets: Tensor) -> Field | None:
        """u and u* on the test grid; None unless it has two axes. Time runs across."""
        if len(self.equation.sides) != 2:
            return None
        (first, second), (left, bottom), (right, top) = self.equation.axes, self.equation.low, self.equation.high
        learned, known = (values.view(*self.equation.sides) for values in (outputs, targets))
        if second == "t":
            return Field(learned, known, ("t", first), (bottom, top, left, right))
        return Field(learned.T, known.T, (first, second), (left, right, bottom, top))


def _values(equation: Equation, points: Tensor) -> Split:
    """Rows whose output is u, with the solution there."""
    return Split(_rows(points, 0, 0, 0, 1), equation.solution(points.double()).float().unsqueeze(1))


def _rows(points: Tensor, *weights: float) -> Tensor:
    """Cases at points (n × d) with weights a, b, c, e."""
    return torch.cat([points, torch.tensor(weights).expand(len(points), -1)], 1)
