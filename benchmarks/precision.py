"""Time and error of products in every precision that this machine has.

Time is that of a Gauss-Newton product over that of its float32 floor (`benchmarks/floors.py`). The adjoint gap is
|⟨u, J v⟩ - ⟨Jᵀu, v⟩| / (‖u‖ ‖J v‖), the largest of several random pairs; the error is ‖G v - exact‖ / ‖exact‖, exact
being in float64 throughout, at the same float32 weights.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from hfbench.curvature.checked_linearisation import linearize
from hfbench.curvature.linearisation import Linearisation
from hfbench.linalg.precision import available
from hfbench.linalg.vector import Vector
from hfbench.runs.random_streams import generator

from .floors import floor
from .problems import Problem, problem
from .runner import Options, Row
from .timing import clock, take_turns

TITLE = "Products by precision: time over the float32 floor, and how exact they are"
COLUMNS = {
    "task": "network",
    "precision": "precision",
    "cases": "cases",
    "ratio": "ratio",
    "low": "25 %",
    "high": "75 %",
    "gap": "adjoint gap",
    "error": "error",
}
TASKS = ("mnist", "usps", "mnist-conv", "addition")
CASES = (500, 1000, 2000, 4000, 8000)
FEW = (50,)  # with --quick
PAIRS = 5


def precisions() -> list[str]:
    """The distinct precisions of this machine."""
    return [name for name in available(torch.zeros(1)) if name not in ("parameters", "auto")]


def rows(options: Options) -> Iterator[Row]:
    for task in TASKS[:1] if options.quick else TASKS:
        for cases in FEW if options.quick else CASES:
            yield from compare(task, cases, options)


def compare(task: str, cases: int, options: Options) -> Iterator[Row]:
    """One row for each precision; all of them and the floor take turns."""
    one = problem(task, cases)
    at = {name: linearized(one, name) for name in precisions()}
    sides = {name: lambda own=own: own.gauss_newton(one.v) for name, own in at.items()} | {
        "floor": floor(one.model, one.inputs)
    }
    least, budget = (3, 0.1) if options.quick else (9, 5.0)
    found = take_turns(sides, least=least, budget=budget, clock=clock(options.threads))
    exact = _exact(one)
    for name, own in at.items():
        ratio = found.ratio(name, "floor")
        yield {
            "task": task,
            "precision": name,
            "cases": cases,
            "ratio": ratio.median,
            "low": ratio.low,
            "high": ratio.high,
            "gap": adjoint_gap(own),
            "error": (_double(own.gauss_newton(one.v)) - exact).norm() / exact.norm(),
        }


def linearized(one: Problem, name: str) -> Linearisation:
    return linearize(one.model, one.loss, one.inputs, one.targets, precision=name)


def adjoint_gap(at: Linearisation) -> float:
    """The largest |⟨u, J v⟩ - ⟨Jᵀu, v⟩| / (‖u‖ ‖J v‖), summed in float64, of several random u and v."""
    draw = generator(0, "pairs")
    gaps = []
    for _ in range(PAIRS):
        v = Vector(torch.randn(block.shape, generator=draw) for block in at.parameters)
        u = torch.randn(at.outputs.shape, generator=draw)
        Jv = at.jvp(v).double()
        across = _double(at.vjp(u)).dot(_double(v))
        gaps.append(abs(float((Jv * u).sum()) - across) / float(u.norm() * Jv.norm()))
    return max(gaps)


def _exact(one: Problem) -> Vector:
    """G v in float64."""
    model, inputs = copy.deepcopy(one.model).double(), _double_if_floating(one.inputs)
    return linearize(model, one.loss, inputs, _double_if_floating(one.targets)).gauss_newton(_double(one.v))


def _double(v: Vector) -> Vector:
    return Vector(block.double() for block in v)


def _double_if_floating(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x
