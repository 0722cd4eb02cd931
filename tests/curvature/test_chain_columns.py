"""Parts of vectors in one sweep: each is its vector with all but a group of blocks zero, and costs what it must."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.systems import dense_jacobian, flat, inputs_for, network, targets_for
from torch import nn

from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.work_ledger import Ledger
from hfbench.linalg.vector import Vector

CLOSE: dict[str, Any] = {"atol": 1e-10, "rtol": 1e-9}


def drawn(model: nn.Module, k: int, seed: int) -> list[Vector]:
    """k vectors shaped like the parameters."""
    generator = torch.Generator().manual_seed(seed)
    return [
        Vector(torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in model.parameters()) for _ in range(k)
    ]


def convolutional() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(32, 3)).double()


def partition(positions: int, seed: int) -> list[list[int]]:
    """Groups of positions, each in one, drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    group_of = torch.randint(0, 3, (positions,), generator=generator).tolist()
    groups = [[i for i, group in enumerate(group_of) if group == one] for one in range(3)]
    return [group for group in groups if group]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=5),
    st.booleans(),
    st.integers(1, 3),
    st.sampled_from([None, 2]),
    st.integers(0, 10**6),
)
def test_parts_are_the_vector_with_all_but_a_group_zero(
    sizes: list[int], biases: bool, k: int, chunk: int | None, seed: int
) -> None:
    model = network(tuple(sizes), seed)
    if not biases:
        for layer in model:
            if isinstance(layer, nn.Linear):
                layer.bias = None
    x, t = inputs_for(5, sizes[0], seed + 1), targets_for("least-squares", 5, sizes[-1], seed + 2)
    at, V, J = Linearisation(model, "least-squares", x, t, chunk=chunk), drawn(model, k, seed), dense_jacobian(model, x)
    groups = partition(len(V[0]), seed)
    expected = [
        (J @ torch.tensor(flat(Vector(b if i in group else 0 * b for i, b in enumerate(v))))).view(5, -1)
        for group in groups
        for v in V
    ]
    torch.testing.assert_close(at.jvp_parts(V, groups), torch.stack(expected, 1), **CLOSE)


def test_parts_of_layers_in_any_other_network_are_the_same() -> None:
    torch.manual_seed(0)
    model, x = convolutional(), torch.randn(5, 1, 6, 6, dtype=torch.float64)
    at, V = Linearisation(model, "softmax", x, targets_for("softmax", 5, 3, 2)), drawn(model, 2, 3)
    assert at.layers == [[0, 1], [2, 3]]
    JV = at.jvp_parts(V, at.layers)
    assert JV.shape == (5, 4, 3)
    torch.testing.assert_close(JV.unflatten(1, (2, 2)).sum(1), at.jvp_columns(V), **CLOSE)


def test_a_part_costs_nothing_before_its_first_layer() -> None:
    """Layers of 6·5, 5·4 and 4·3 weights; the first counts as any other, though J v has one product there."""
    model, x = network((6, 5, 4, 3), 0), inputs_for(7, 6, 1)
    ledger = Ledger()
    at = Linearisation(model, "least-squares", x, targets_for("least-squares", 7, 3, 2), ledger=ledger)
    before = ledger.jvp
    at.jvp_parts(drawn(model, 2, 3), at.layers)
    first, second, third = 30, 20, 12
    products = 2 * (2 * first + second + second + third + 2 * third)
    assert ledger.jvp - before == round(7 * products / (2 * (first + second + third)))
