"""Recurrent layers of every kind: right products, by a rule for each layer and direction."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rules import check_products, rules_used
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

KINDS: dict[str, Any] = {
    "rnn": nn.RNN,
    "rectified": lambda *sizes, **more: nn.RNN(*sizes, nonlinearity="relu", **more),
    "lstm": nn.LSTM,
    "gru": nn.GRU,
}


class Net(nn.Module):
    """Everything that a layer returns, from states of its own."""

    def __init__(self, kind: str, inner: bool = True, **more: Any) -> None:
        super().__init__()
        self.before = nn.Linear(3, 3) if inner else nn.Identity()
        self.cells = KINDS[kind](3, 4, **more)
        self.start = nn.Parameter(0.5 * torch.randn(2, 4))
        self.out = nn.Linear(self.cells(torch.zeros(1, 1, 3))[0].shape[-1], 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        first = self.cells.batch_first
        layers = self.cells.num_layers * (1 + self.cells.bidirectional)
        width = self.cells.proj_size or self.cells.hidden_size
        h = self.start[0, :width].expand(layers, len(x), width).contiguous()
        c = self.start[1].expand(layers, len(x), 4).contiguous()
        outputs, last = self.cells(x if first else x.transpose(0, 1), (h, c) if isinstance(self.cells, nn.LSTM) else h)
        z = self.out(outputs if first else outputs.transpose(0, 1)).flatten(1)
        states = torch.cat(last, -1) if isinstance(last, tuple) else last
        return torch.cat((z, states.transpose(0, 1).flatten(1)), 1)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from([*KINDS]), st.integers(1, 5), st.integers(1, 4), st.booleans(), st.booleans(), st.booleans())
def test_products_are_right(kind: str, steps: int, cases: int, bias: bool, batch_first: bool, inner: bool) -> None:
    torch.manual_seed(0)
    model, x = Net(kind, inner, bias=bias, batch_first=batch_first), torch.randn(cases, steps, 3)
    check_products(model, x)
    assert rules_used(model, x) == 1


@pytest.mark.parametrize("frozen", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"])
@pytest.mark.parametrize("kind", KINDS)
def test_frozen_parameters(kind: str, frozen: str) -> None:
    torch.manual_seed(0)
    model = Net(kind, batch_first=True)
    getattr(model.cells, frozen).requires_grad_(False)
    check_products(model, torch.randn(3, 4, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_states_that_are_written_into_afterwards(kind: str) -> None:
    class Written(Net):
        def forward(self, x: Tensor) -> Tensor:
            outputs, _ = self.cells(x)
            return outputs.mul_(2).flatten(1)

    torch.manual_seed(0)
    check_products(Written(kind, batch_first=True), torch.randn(3, 4, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_in_evaluation_mode(kind: str) -> None:
    torch.manual_seed(0)
    check_products(Net(kind, batch_first=True).eval(), torch.randn(3, 4, 3))


@pytest.mark.parametrize("more", [{"num_layers": 2}, {"bidirectional": True}, {"num_layers": 2, "bidirectional": True}])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [True, False])
def test_several_layers_and_directions(kind: str, batch_first: bool, more: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model, x = Net(kind, batch_first=batch_first, **more), torch.randn(3, 4, 3)
    check_products(model, x)
    assert rules_used(model, x) == more.get("num_layers", 1) * (1 + more.get("bidirectional", False))


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_layer_below_a_trained_one(kind: str) -> None:
    torch.manual_seed(0)
    model, x = Net(kind, inner=False, num_layers=2, batch_first=True), torch.randn(3, 4, 3)
    model.start.requires_grad_(False)
    for name, p in model.cells.named_parameters():
        p.requires_grad_(name.endswith("l1"))
    check_products(model, x)
    assert rules_used(model, x) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_between_layers_that_is_switched_off(kind: str) -> None:
    torch.manual_seed(0)
    check_products(Net(kind, num_layers=2, dropout=0.5, batch_first=True).eval(), torch.randn(3, 4, 3))


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
def test_a_projection_is_pytorchs() -> None:
    torch.manual_seed(0)
    model, x = Net("lstm", batch_first=True, proj_size=2), torch.randn(3, 4, 3)
    check_products(model, x)
    assert rules_used(model, x) == 0


class Packed(nn.Module):
    """Sequences of two lengths."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.cells = KINDS[kind](3, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        lengths = torch.full((len(x),), 3)
        outputs = self.cells(pack_padded_sequence(x, lengths, batch_first=True))[0]
        return pad_packed_sequence(outputs, batch_first=True)[0].flatten(1)


@pytest.mark.parametrize("kind", KINDS)
def test_packed_sequences_are_pytorchs(kind: str) -> None:
    torch.manual_seed(0)
    assert rules_used(Packed(kind), torch.randn(3, 4, 3)) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_two_layers_one_after_the_other(kind: str) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = (KINDS[kind](3, 3, batch_first=True) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x)[0])[0][:, -1]

    torch.manual_seed(0)
    model, x = Two(), torch.randn(3, 4, 3)
    check_products(model, x)
    assert rules_used(model, x) == 2
