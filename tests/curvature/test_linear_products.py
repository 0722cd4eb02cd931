"""Products with several vectors at once: those of each vector, for any model, batch, layout and precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.systems import dense_hessian, dense_jacobian, flat, inputs_for, network, targets_for
from torch import Tensor, nn

from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.work_ledger import Ledger
from hfbench.errors import ConfigError
from hfbench.linalg.vector import Vector

CLOSE: dict[str, Any] = {"atol": 1e-10, "rtol": 1e-9}


def drawn(model: nn.Module, k: int, seed: int) -> list[Vector]:
    """k vectors shaped like the parameters."""
    generator = torch.Generator().manual_seed(seed)
    return [
        Vector(torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in model.parameters()) for _ in range(k)
    ]


def as_matrix(columns: list[Vector]) -> Tensor:
    return torch.stack([torch.tensor(flat(v)) for v in columns], 1)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=4),
    st.integers(1, 7),
    st.integers(1, 4),
    st.sampled_from(["least-squares", "logistic", "softmax"]),
    st.sampled_from([None, 1, 3]),
    st.integers(0, 10**6),
)
def test_columns_equal_the_dense_products(
    sizes: list[int], cases: int, k: int, loss: str, chunk: int | None, seed: int
) -> None:
    assume(loss != "softmax" or sizes[-1] > 1)  # one class alone is refused
    model, x = network(tuple(sizes), seed), inputs_for(cases, sizes[0], seed + 1)
    t = targets_for(loss, cases, sizes[-1], seed + 2)
    at, V = Linearisation(model, loss, x, t, chunk=chunk), drawn(model, k, seed)
    J, H, M = dense_jacobian(model, x), dense_hessian(loss, model(x), t), as_matrix(V)
    JV = at.jvp_columns(V)
    assert JV.shape == (cases, k, sizes[-1])
    torch.testing.assert_close(JV.transpose(0, 1).reshape(k, -1).T, J @ M, **CLOSE)
    U = inputs_for(cases * k, sizes[-1], seed + 3).view(cases, k, -1)
    JtU = J.T @ U.transpose(0, 1).reshape(k, -1).T
    torch.testing.assert_close(as_matrix(at.vjp_columns(U)), JtU, **CLOSE)
    torch.testing.assert_close(as_matrix(at.gauss_newton_columns(V)), J.T @ (H @ (J @ M)) / cases, **CLOSE)


def convolutional() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(32, 3)).double()


@pytest.mark.parametrize("layout", ["structured", "flat"])
@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("kind", ["chain", "relu without biases", "convolutional"])
def test_columns_are_the_single_products_and_counted_as_these(kind: str, chunk: int | None, layout: str) -> None:
    torch.manual_seed(0)
    model: nn.Module = {
        "chain": lambda: network((6, 5, 3), 0),
        "relu without biases": lambda: nn.Sequential(
            nn.Linear(6, 5, bias=False), nn.ReLU(), nn.Linear(5, 3, bias=False)
        ).double(),
        "convolutional": convolutional,
    }[kind]()
    x = torch.randn(5, 1, 6, 6, dtype=torch.float64) if kind == "convolutional" else inputs_for(5, 6, 1)
    t = targets_for("softmax", 5, 3, 2)
    ledgers = Ledger(), Ledger()
    one_by_one, at_once = (
        Linearisation(model, "softmax", x, t, chunk=chunk, layout=layout, ledger=ledger) for ledger in ledgers
    )
    V = [one_by_one.layout.pack(v) for v in drawn(model, 3, 4)]
    U = torch.randn(5, 3, 3, dtype=torch.float64)
    if chunk is None:  # a streamed graph is recorded again for every single product
        one_by_one.jvp(V[0])
        at_once.jvp_columns(V[:1])
    torch.testing.assert_close(at_once.jvp_columns(V), torch.stack([one_by_one.jvp(v) for v in V], 1), **CLOSE)
    for made, expected in (
        (at_once.vjp_columns(U), [one_by_one.vjp(u.contiguous()) for u in U.unbind(1)]),
        (at_once.gauss_newton_columns(V), [one_by_one.gauss_newton(v) for v in V]),
    ):
        assert [type(v) for v in made] == [Vector] * 3
        torch.testing.assert_close(made, expected, **CLOSE)
    if chunk is None:
        assert ledgers[0].state_dict() == ledgers[1].state_dict()
    assert ledgers[0].products == ledgers[1].products


@pytest.mark.parametrize("kind", ["chain", "convolutional"])
def test_columns_in_fewer_digits_are_near_the_single_products_in_them(kind: str) -> None:
    torch.manual_seed(0)
    model = network((6, 5, 3), 0) if kind == "chain" else convolutional()
    x = inputs_for(5, 6, 1) if kind == "chain" else torch.randn(5, 1, 6, 6, dtype=torch.float64)
    at = Linearisation(model, "softmax", x, targets_for("softmax", 5, 3, 2), precision="bfloat16")
    V = drawn(model, 3, 4)
    for made, v in zip(at.gauss_newton_columns(V), V, strict=True):
        single = at.gauss_newton(v)
        assert {block.dtype for block in made} == {torch.float64}
        assert (made - single).norm() <= 0.02 * single.norm()


def test_columns_may_be_kept_and_changed() -> None:
    """Each is its own memory: what a caller writes into one is nothing to the others."""
    model, x = network((4, 3, 2), 0), inputs_for(5, 4, 1)
    at = Linearisation(model, "least-squares", x, targets_for("least-squares", 5, 2, 2))
    V = drawn(model, 2, 3)
    first, second = at.gauss_newton_columns(V)
    kept = Vector(block.clone() for block in second)
    first.mul_(0.0)
    torch.testing.assert_close(second, kept, atol=0.0, rtol=0.0)


@pytest.mark.parametrize("shape", [(4, 2, 3), (3, 2, 4), (3, 3), (3,)])
def test_columns_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    at = Linearisation(network((4, 3), 0), "least-squares", inputs_for(3, 4, 1), inputs_for(3, 3, 2))
    with pytest.raises(
        ConfigError,
        match=r"the outputs' shape with the number of columns after that of cases, here \(3, \d, 3\), but got",
    ):
        at.vjp_columns(torch.zeros(shape, dtype=torch.float64))


def test_graphs_of_a_streamed_batch_are_rebuilt_once_for_all_columns() -> None:
    torch.manual_seed(0)
    model, ledger = convolutional(), Ledger()
    x = inputs_for(6, 36, 1).view(6, 1, 6, 6)
    at = Linearisation(model, "least-squares", x, inputs_for(6, 3, 2), chunk=2, ledger=ledger)
    before = ledger.state_dict()
    at.jvp_columns(drawn(model, 3, 0))
    did = ledger.since(before)
    assert (did["forward"], did["transpose"], did["jvp"]) == (6, 6, 18)
