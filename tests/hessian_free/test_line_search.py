"""The line search on scripted values."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from hfbench.hessian_free.globalization import Globalization
from hfbench.hessian_free.line_search import LineStep, line_search
from hfbench.linalg.vector import Vector
from hfbench.parts.hyperparameters import build_part

NAN, INF = math.nan, math.inf


P = Vector((torch.ones(1, dtype=torch.float64),))


class Recorded:
    """An objective of the step's length that notes what it is asked."""

    def __init__(self, f: Callable[[float], float]) -> None:
        self.f, self.lengths = f, list[float]()

    def __call__(self, p: Vector) -> float:
        self.lengths.append(float(p[0]))
        return self.f(self.lengths[-1])


def search(f: Callable[[float], float], f_0: float, slope: float, **settings: float) -> tuple[LineStep, Recorded]:
    recorded = Recorded(f)
    rules = build_part(Globalization, settings)
    return line_search(rules, recorded, P, f_0, f(1.0), slope), recorded


def test_a_good_full_step_costs_nothing() -> None:
    step, f = search(lambda length: 1.0 - length, f_0=1.0, slope=-1.0)
    assert step == LineStep(1.0, 0.0)
    assert f.lengths == []


def test_the_first_length_that_decreases_enough() -> None:
    step, f = search(lambda length: 5.0 if length > 0.5 else 0.5, f_0=1.0, slope=-1.0)
    assert f.lengths == pytest.approx([0.8, 0.64, 0.512, 0.4096])
    assert step == LineStep(f.lengths[-1], 0.5)


def test_a_decrease_must_reach_a_part_of_the_slope() -> None:
    """f falls, but at length 1 by less than 0.01 of what the slope promises; equality is enough."""
    assert search(lambda length: 0.995, f_0=1.0, slope=-1.0)[0].length == pytest.approx(0.8**4)
    assert search(lambda length: 0.99, f_0=1.0, slope=-1.0)[0].length == 1.0
    assert search(lambda length: 0.995, f_0=1.0, slope=-1.0, armijo=0.004)[0].length == 1.0


def test_no_step_after_sixty_tries() -> None:
    step, f = search(lambda length: 2.0, f_0=1.0, slope=-1.0)
    assert step == LineStep(0.0, 1.0)
    assert len(f.lengths) == 59, "the full step was known"
    assert f.lengths[-1] == pytest.approx(0.8**59)


def test_the_last_try_counts() -> None:
    assert search(lambda length: 2.0 if length > 0.9 * 0.8**58 else 0.0, 1.0, -1.0)[0].length == pytest.approx(0.8**59)
    assert search(lambda length: 2.0 if length > 0.65 else 0.0, 1.0, -1.0, max_tries=3)[0].length == pytest.approx(0.64)
    assert search(lambda length: 2.0 if length > 0.65 else 0.0, 1.0, -1.0, max_tries=2)[0].length == 0.0


def test_a_direction_of_ascent_gives_no_step() -> None:
    step, f = search(lambda length: -length, f_0=1.0, slope=1e-9)
    assert step == LineStep(0.0, 1.0)
    assert f.lengths == []


@pytest.mark.parametrize("bad", [NAN, INF])
def test_values_that_are_not_finite_are_no_decrease(bad: float) -> None:
    assert search(lambda length: bad if length > 0.7 else 0.5, 1.0, -1.0)[0] == LineStep(pytest.approx(0.64), 0.5)
    assert search(lambda length: bad, 1.0, -1.0)[0] == LineStep(0.0, 1.0)


def test_a_zero_step_is_accepted() -> None:
    assert search(lambda length: 1.0, 1.0, 0.0)[0] == LineStep(1.0, 1.0)
