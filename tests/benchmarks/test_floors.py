"""Floors have the products they should, counted by PyTorch, and the Gauss-Newton product makes no more."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import product
from benchmarks.floors import floor, layers
from benchmarks.networks import NETWORKS
from benchmarks.problems import INPUTS, problem
from hfbench.curvature.checked_linearisation import linearize
from hfbench.curvature.convolution_rules import nominal_kernels

CASES = 7


def in_place(total: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...], *_: object, **named: object) -> int:
    """Of addmm_, which PyTorch does not count."""
    return 2 * a[0] * a[1] * b[1]


def flops(call: Callable[[], object]) -> int:
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: in_place}) as counter:
        call()
    return int(counter.get_total_flops())


def test_dense_layers_have_four_products_and_the_first_has_two() -> None:
    model = nn.Sequential(nn.Linear(11, 5), nn.Tanh(), nn.Linear(5, 3))
    assert flops(floor(model, torch.rand(CASES, 11))) == 2 * CASES * (2 * 11 * 5 + 4 * 5 * 3)


def test_convolutions_have_the_same() -> None:
    """3×3, padded: every output pixel is 9 × channels multiply-adds."""
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 5, 3, stride=2, padding=1))
    first, second = 36 * 4 * 2 * 9, 9 * 5 * 4 * 9
    assert flops(floor(model, torch.rand(CASES, 2, 6, 6))) == 2 * CASES * (2 * first + 4 * second)


def test_transposed_convolutions_have_the_same() -> None:
    """Of stride 2: every input pixel is multiplied by the whole window."""
    model = nn.Sequential(nn.Linear(3, 32), nn.Unflatten(1, (2, 4, 4)), nn.ConvTranspose2d(2, 5, 4, 2, 1))
    assert flops(floor(model, torch.rand(CASES, 3))) == 2 * CASES * (2 * 3 * 32 + 4 * 16 * 2 * 5 * 16)


def test_recurrent_layers_have_them_at_every_step() -> None:
    one = problem("addition", CASES, units=6, length=10)
    into, around, out = 10 * 2 * 6, 10 * 6 * 6, 6
    assert flops(floor(one.model, one.inputs[:, :10])) == 2 * CASES * (2 * into + 4 * around + 4 * out)


def test_a_layer_used_twice_counts_twice() -> None:
    shared = nn.Linear(4, 4)
    assert [layer.is_inner for layer in layers(nn.Sequential(shared, nn.Tanh(), shared), torch.rand(2, 4))] == [
        False,
        True,
    ]


@pytest.mark.parametrize("task", [*INPUTS, *(name for name in product.TASKS if name in NETWORKS)])
def test_the_product_makes_the_products_of_its_floor_and_no_other(task: str) -> None:
    one = problem(task, CASES)
    at = linearize(one.model, one.loss, one.inputs, one.targets)
    at.gauss_newton(one.v)  # builds the graph
    with nominal_kernels():  # phases of a transposed convolution multiply by zeros in the margins
        assert flops(lambda: at.gauss_newton(one.v)) == flops(floor(one.model, one.inputs))
