"""Numbers that stay on a device: what is made of them, when they are read, and solves that read them a step late."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.systems import inputs_for, network, targets_for
from torch import Tensor

from hfbench import HessianFree
from hfbench.linalg import vector
from hfbench.linalg.scalars import divide, inverse_of, read, scale_of, sqrt
from hfbench.linalg.vector import Vector

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


@given(st.floats(min_value=2.0**-126, max_value=1.0, exclude_max=True))
def test_the_scale_is_the_power_of_two_next_above(norm: float) -> None:
    scale = scale_of(norm)
    assert math.frexp(scale)[0] == 0.5
    assert scale / 2 <= norm < scale


@pytest.mark.parametrize("norm", [0.0, 1.0, 1e30, math.inf, math.nan])
def test_it_is_one_of_large_norms_and_of_none(norm: float) -> None:
    assert scale_of(norm) == 1.0


@pytest.mark.parametrize("norm", [5e-324, 1e-45, 1e-38])
def test_float32_holds_it_and_its_inverse(norm: float) -> None:
    for factor in (scale_of(norm), 1 / scale_of(norm)):
        assert 0 < float(torch.tensor(factor, dtype=torch.float32)) < math.inf


def on_device(number: float) -> Tensor:
    return torch.tensor(number, dtype=torch.float64)


def same(a: Any, b: Any) -> bool:
    a, b = float(a), float(b)
    return a == b or (a != a and b != b)


@given(NUMBERS, NUMBERS)
def test_a_quotient_is_that_of_ieee_754_on_the_host_as_on_the_device(a: float, b: float) -> None:
    assert same(divide(a, b), on_device(a) / on_device(b))
    assert same(divide(on_device(a), on_device(b)), on_device(a) / on_device(b))


@given(st.floats(min_value=0, allow_infinity=True))
def test_roots_and_inverses_agree(number: float) -> None:
    assert math.isclose(sqrt(number), float(sqrt(on_device(number))), rel_tol=1e-15)
    assert same(inverse_of(number), inverse_of(on_device(number)))


def test_a_square_that_rounding_left_below_zero_is_zero() -> None:
    assert sqrt(-1e-30) == sqrt(on_device(-1e-30)) == 0
    assert math.isnan(sqrt(math.nan))
    assert sqrt(on_device(math.nan)).isnan()


def test_a_vanishing_norm_leaves_the_vector() -> None:
    assert inverse_of(0.0) == inverse_of(on_device(0.0)) == 1.0
    assert inverse_of(math.nan) == inverse_of(on_device(math.nan)) == 1.0


def endless(made: list[int], number: Any) -> Iterator[tuple[Any, str, Any]]:
    k = 0
    while True:
        made.append(k)
        yield number(k), f"step {k}", number(k / 3)
        k += 1


def test_numbers_of_the_host_are_read_at_once() -> None:
    made: list[int] = []
    steps = read(endless(made, float))
    for k in range(4):
        assert next(steps) == (float(k), f"step {k}", k / 3)
        assert made[-1] == k


def test_numbers_of_the_device_are_read_while_the_next_step_is_under_way() -> None:
    made: list[int] = []
    steps = read(endless(made, on_device))
    for k in range(4):
        assert next(steps) == (float(k), f"step {k}", k / 3)
        assert made[-1] == k + 1


def test_a_process_that_ends_gives_its_last_steps() -> None:
    steps = [(on_device(1.0), "a"), (on_device(2.0), "b")]
    assert list(read(steps)) == [(1.0, "a"), (2.0, "b")]
    assert list(read([])) == []


@pytest.mark.parametrize("blocks", [1, 3])
def test_vectors_take_numbers_of_the_device(blocks: int) -> None:
    draws = torch.Generator().manual_seed(1)
    a, b = (Vector(torch.randn(4, 2, generator=draws) for _ in range(blocks)) for _ in range(2))
    alpha = 1 / 3
    there = on_device(alpha)
    for mine, exact in (
        (a.add(b, there), a.add(b, alpha)),
        (a * there, a * alpha),
        (a.clone().add_(b, there), a.clone().add_(b, alpha)),
        (a.clone().mul_(there), a.clone().mul_(alpha)),
    ):
        assert [one.dtype for one in mine] == [torch.float32] * blocks
        torch.testing.assert_close(list(mine), list(exact))


def test_an_inner_product_that_stays_is_added_up_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = torch.Generator().manual_seed(2)
    v = Vector(torch.randn(size, generator=draws).abs() for size in (2_000_000, 3))
    exact = sum(float(block.double().square().sum()) for block in v)
    assert isinstance(v.inner(v), float)
    monkeypatch.setattr(vector, "is_on_gpu", lambda device: True)
    found = v.inner(v)
    assert isinstance(found, Tensor)
    assert found.dtype == torch.float64
    assert float(found) == pytest.approx(exact, rel=1e-8)


@pytest.mark.parametrize("layout", ["structured", "flat"])
@pytest.mark.parametrize("solver", ["cg", "lsmr", "lsqr", "minres"])
def test_steps_are_the_same_with_one_product_more(solver: str, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, here on the CPU: the iterates do not know where their numbers are."""
    x, t = inputs_for(64, 20, 1), targets_for("logistic", 64, 10, 2)
    settings: dict[str, Any] = {"solver": solver, "preconditioner": "chapelle-erhan", "layout": layout}
    found = []
    for there in (False, True):
        monkeypatch.setattr(vector, "is_on_gpu", lambda device, there=there: there)
        optimizer = HessianFree(network((20, 30, 10), 0), globalization={"initial_damping": 0.1}, **settings)
        results = [optimizer.step(x, t) for _ in range(5)]
        found.append((results, optimizer.ledger.products))
    (here, few), (late, more) = found
    assert more == few + 5
    for a, b in zip(here, late, strict=True):
        assert (a.inner_iterations, a.chosen_iterate, a.stop_reason) == (
            b.inner_iterations,
            b.chosen_iterate,
            b.stop_reason,
        )
        assert a.objective_after == pytest.approx(b.objective_after, rel=1e-12)
        assert a.q == pytest.approx(b.q, rel=1e-10)
