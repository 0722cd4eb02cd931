"""Products of a chain, written out, against the recorded graph and the dense Jacobian."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.systems import dense_jacobian, flat, inputs_for
from torch import Tensor, nn

import hfbench
from hfbench.curvature.autograd_tape import AutogradTape
from hfbench.curvature.dense_chain import Chain
from hfbench.curvature.layer_io import Capture
from hfbench.curvature.second_moments import squared_norms, squared_sums
from hfbench.curvature.tape import record_tape
from hfbench.curvature.weights_by_name import own_weights
from hfbench.linalg.vector import Vector

ACTIVATIONS = (nn.Sigmoid, nn.Tanh, nn.ReLU)


def chain_of(model: nn.Module, x: Tensor, dtype: torch.dtype | None = None) -> Chain:
    chain = record_tape(model, x, own_weights(model), dtype)
    assert isinstance(chain, Chain)
    return chain


def close(a: Vector | Tensor, b: Vector | Tensor, rtol: float = 1e-12) -> None:
    pairs = [(a, b)] if isinstance(a, Tensor) else zip(a, b, strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=rtol, atol=rtol)


@st.composite
def chains(draw: st.DrawFn) -> tuple[nn.Sequential, Tensor]:
    """A chain of one to four layers in float64, some without bias or activation, some nested; and cases."""
    widths = draw(st.lists(st.integers(1, 5), min_size=2, max_size=5))
    torch.manual_seed(draw(st.integers(0, 2**16)))
    parts: list[nn.Module] = []
    for inside, outside in zip(widths, widths[1:], strict=False):
        layer: list[nn.Module] = [nn.Linear(inside, outside, bias=draw(st.booleans()))]
        if (kind := draw(st.sampled_from([None, *ACTIVATIONS]))) is not None:
            layer.append(kind())
        parts += [nn.Sequential(*layer)] if draw(st.booleans()) else layer
    return nn.Sequential(*parts).double(), torch.randn(draw(st.integers(1, 6)), widths[0], dtype=torch.float64)


# ---------------------------------------------------------------- right


@settings(deadline=None, max_examples=60)
@given(chains())
def test_all_is_as_of_the_recorded_graph(made: tuple[nn.Sequential, Tensor]) -> None:
    model, x = made
    chain, graph = chain_of(model, x), AutogradTape(model, x, own_weights(model))
    v = Vector(torch.randn_like(p) for p in model.parameters())
    u = torch.randn_like(chain.z)
    assert torch.equal(chain.z, graph.z)
    close(chain.jvp(v), graph.jvp(v))
    close(chain.vjp(u), graph.vjp(u))
    w = own_weights(model)
    close(squared_sums(model, x, chain.z, chain.capture, u, w), squared_sums(model, x, graph.z, graph.capture, u, w))
    norms = [squared_norms(model, x, one.z, one.capture, u, w) for one in (chain, graph)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-12)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_products_equal_the_dense_ones(kind: type[nn.Module]) -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 6), kind(), nn.Linear(6, 3), kind(), nn.Linear(3, 2)).double()
    x, u = inputs_for(7, 4, 1), inputs_for(7, 2, 2)
    chain, J = chain_of(model, x), dense_jacobian(model, x)
    v = Vector(torch.randn_like(p) for p in model.parameters())
    close(chain.jvp(v).reshape(-1), J @ torch.tensor(flat(v), dtype=torch.float64), 1e-10)
    close(torch.tensor(flat(chain.vjp(u)), dtype=torch.float64), J.T @ u.reshape(-1), 1e-10)


def test_vectors_are_left_as_they_were() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 3), nn.Sigmoid()), torch.rand(5, 3)
    chain, u = chain_of(model, x), torch.randn(5, 3)
    v = Vector(torch.randn_like(p) for p in model.parameters())
    before = copy.deepcopy((chain.z, u, v, x))
    first = chain.jvp(v), chain.vjp(u), list(chain.passes(chain.z, u))
    close(chain.jvp(v), first[0], 0)
    close(chain.vjp(u), first[1], 0)
    for now, then in zip((chain.z, u, v, x), before, strict=True):
        close(now, then, 0)


def test_in_chunks_and_in_bfloat16_all_is_the_same_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hfbench.linalg.precision.has_bfloat16", lambda device: True)
    monkeypatch.setattr("hfbench.linalg.precision.NARROW", 0)
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)), torch.randn(12, 6)
    t, v = torch.rand(12, 3), Vector(torch.randn_like(p) for p in model.parameters())
    whole = hfbench.linearize(model, "logistic", x, t)
    assert isinstance(whole.kept, Chain)
    exact = whole.gauss_newton(v)
    assert whole.product_mode == "chain"
    close(hfbench.linearize(model, "logistic", x, t, chunk=5).gauss_newton(v), exact, 1e-5)
    low = hfbench.linearize(model, "logistic", x, t, precision="bfloat16")
    assert isinstance(low.kept_cast, Chain)
    assert 1e-4 < float((low.gauss_newton(v) - exact).norm() / exact.norm()) < 2e-2
    u = torch.randn(12, 3)
    assert float((u * low.jvp(v)).sum()) == pytest.approx(low.vjp(u).dot(v), rel=3e-2)


def test_narrow_layers_keep_their_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hfbench.linalg.precision.has_bfloat16", lambda device: True)
    monkeypatch.setattr("hfbench.linalg.precision.NARROW", 200)
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(30, 40), nn.Tanh(), nn.Linear(40, 5), nn.Linear(5, 41)), torch.randn(12, 30)
    u, v = torch.randn(12, 41), Vector(torch.randn_like(p) for p in model.parameters())
    low = chain_of(model, x, torch.bfloat16)
    assert [layer.dtype for layer in low.passed] == [torch.bfloat16, torch.float32, torch.bfloat16]
    assert {block.dtype for block in (low.jvp(v), *low.vjp(u))} == {torch.float32}
    plain = chain_of(model, x)
    at_code = Vector(block if index == 2 else torch.zeros_like(block) for index, block in enumerate(v))
    assert low.passed[1].W is plain.passed[1].W or torch.equal(low.passed[1].W, plain.passed[1].W)
    for found, wanted in ((low.jvp(v), plain.jvp(v)), (low.jvp(at_code), plain.jvp(at_code))):
        assert 1e-5 < float((found - wanted).norm() / wanted.norm()) < 2e-2
    assert float((low.vjp(u) - plain.vjp(u)).norm() / plain.vjp(u).norm()) < 2e-2
    assert float((u * low.jvp(v)).sum()) == pytest.approx(low.vjp(u).dot(v), rel=3e-2)
    parts = low.jvp_parts([v, at_code], [[0, 1], [2, 3], [4, 5]])
    close(parts[:, ::2].sum(1), low.jvp(v), 2e-2 * float(low.jvp(v).norm()))
    close(parts[:, 3], low.jvp(at_code), 2e-2 * float(low.jvp(at_code).norm()))
    wide = chain_of(model, x, torch.float64)
    assert {layer.dtype for layer in wide.passed} == {torch.float64}


def test_in_more_digits_all_of_a_sum_is_added_up_in_them() -> None:
    model, x = nn.Sequential(nn.Linear(1, 1)), torch.ones(3, 1)
    u = torch.tensor([[2.0**24], [1.0], [1.0]])  # in float32 these ones are lost one by one
    for block in chain_of(model, x, torch.float64).vjp(u):
        assert block.dtype == torch.float32
        assert float(block) == 2.0**24 + 2


# ---------------------------------------------------------------- what is no chain


def two_layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))


def test_parameters_in_another_order_than_their_layers() -> None:
    """A weight that was deleted and put back comes after its bias."""
    torch.manual_seed(0)
    model, x = two_layers().double(), inputs_for(5, 3, 1)
    weight = model[0].weight
    del model[0].weight
    model[0].weight = weight
    assert [tuple(p.shape) for p in model.parameters()][:2] == [(3,), (3, 3)]
    v, u = Vector(torch.randn_like(p) for p in model.parameters()), inputs_for(5, 3, 2)
    chain, graph = chain_of(model, x), AutogradTape(model, x, own_weights(model))
    close(chain.jvp(v), graph.jvp(v))
    close(chain.vjp(u), graph.vjp(u))


def test_the_graph_still_explains_a_chain() -> None:
    """The oracle above is not the chain itself."""
    assert isinstance(AutogradTape(two_layers(), torch.randn(5, 3), own_weights(two_layers())).capture, Capture)


def test_only_the_gradient_of_a_rounded_pass_is_rounded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums over cases in bfloat16 have 8 bits; those of Jᵀu keep the digits of float32."""
    monkeypatch.setattr("hfbench.linalg.precision.has_bfloat16", lambda device: True)
    torch.manual_seed(0)
    model, x, u = nn.Sequential(nn.Linear(100, 90)), torch.rand(64, 100), torch.rand(64, 90)
    low, full = chain_of(model, x, torch.bfloat16), chain_of(model, x)
    exact = u.bfloat16().double().T @ x.bfloat16().double()
    rounded, kept = low.gradient(u)[0].double(), low.vjp(u)[0].double()
    assert 1e-3 < float(((rounded - exact) / exact).abs().max()) < 2**-7
    torch.testing.assert_close(kept, exact, rtol=1e-5, atol=0)
    assert all(torch.equal(a, b) for a, b in zip(full.gradient(u), full.vjp(u), strict=True))
