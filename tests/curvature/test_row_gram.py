"""Inner products of the Jacobian's rows, against the Jacobian by functional autodiff."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.systems import Tied, Twice, dense_jacobian, inputs_for, network, targets_for
from torch import Tensor, nn

from hfbench.curvature.layer_io import LayerIO
from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.row_gram import LayerRows
from hfbench.errors import ConfigError
from hfbench.linalg.data_parallel import Ranks

DTYPE = torch.float64


class Streams(nn.Module):
    """A value and its derivatives as rows of one case, as a forward Laplacian has them."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2, width), nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.stack([x, x.square(), x.flip(1), 2 * x], 1)  # cases × 4 × 2
        return self.last(self.first(rows).tanh()).sum(1)


MODELS = {
    "dense": (network((4, 5, 3), 0), inputs_for(7, 4, 1)),
    "deep": (network((4, 5, 5, 2), 0), inputs_for(7, 4, 1)),
    "streams": (Streams(), inputs_for(6, 2, 1)),
    "convolution": (
        nn.Sequential(nn.Conv1d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 2)),
        inputs_for(5, 12, 1).reshape(5, 2, 6),
    ),
    "transposed": (
        nn.Sequential(nn.ConvTranspose1d(2, 3, 3, stride=2), nn.Tanh(), nn.Flatten()),
        inputs_for(4, 6, 1).reshape(4, 2, 3),
    ),
    "no bias": (nn.Sequential(nn.Linear(4, 3, bias=False), nn.Tanh(), nn.Linear(3, 2)), inputs_for(6, 4, 1)),
    "frozen": (network((4, 5, 3), 0), inputs_for(7, 4, 1)),
    "normalised": (nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 2)), inputs_for(6, 4, 1)),
    "tied": (Tied().to(DTYPE), inputs_for(6, 4, 1)),
    "twice": (Twice().to(DTYPE), inputs_for(6, 4, 1)),
}
for case_model, _ in MODELS.values():
    case_model.to(DTYPE)
MODELS["frozen"][0][0].weight.requires_grad_(False)


def linearised(name: str, loss: str, chunk: int | None = None) -> tuple[Linearisation, Tensor]:
    model, x = MODELS[name]
    z = model(x)
    t = targets_for(loss, len(x), z[0].numel(), 2)
    t = t.reshape(z.shape) if t.is_floating_point() else t
    return Linearisation(model, loss, x, t, chunk=chunk), x


def expected(at: Linearisation, x: Tensor, scales: list[float]) -> Tensor:
    """Bᵀ J S Jᵀ B/n, with B from the loss and J by functional autodiff."""
    J = dense_jacobian(at.model, x)
    m = len(J)
    units = torch.eye(m, dtype=DTYPE).reshape(m, *at.outputs.shape)
    B = torch.stack([at.loss_at.factor(unit).flatten() for unit in units], 1)
    s = torch.cat([torch.full((p.numel(),), scale) for p, scale in zip(at.blocks, scales, strict=True)]).to(DTYPE)
    return B.T @ (J * s) @ J.T @ B / at.n


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("chunk", [None, 3, 1])
def test_they_are_those_of_the_jacobian(name: str, chunk: int | None) -> None:
    at, x = linearised(name, "least-squares", chunk)
    scales = [1.0 + 0.5 * i for i in range(len(at.blocks))]
    torch.testing.assert_close(at.row_gram(scales), expected(at, x, scales), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
@pytest.mark.parametrize("name", ["dense", "convolution", "normalised"])
def test_the_loss_weighs_them(loss: str, name: str) -> None:
    at, x = linearised(name, loss)
    scales = [2.0] * len(at.blocks)
    torch.testing.assert_close(at.row_gram(scales), expected(at, x, scales), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("entries", "block"), [(1, 5), (50, 2), (10**6, 4), (10**6, 100)])
def test_both_ways_and_slices_are_the_same(entries: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    at, x = linearised("streams", "least-squares")
    want = expected(at, x, [1.0] * 4)
    monkeypatch.setattr("hfbench.curvature.row_gram.SLICE_ENTRIES", entries)
    monkeypatch.setattr("hfbench.curvature.row_gram.BLOCK", block)
    for by_gram in (True, False):
        monkeypatch.setattr(LayerRows, "by_gram", by_gram)
        torch.testing.assert_close(at.row_gram([1.0] * 4), want, rtol=1e-10, atol=1e-12)


def test_the_cheaper_way_is_taken() -> None:
    """T²(p + q) multiplications a pair by Gram matrices, p·q by gradients."""

    def rows(T: int, p: int, q: int) -> LayerRows:
        left, right = torch.empty(100, T, p, dtype=DTYPE), torch.empty(100, T, q, dtype=DTYPE)
        return LayerRows(0, None, left, right, left[:, 0])

    assert rows(1, 64, 64).by_gram
    assert rows(4, 128, 128).by_gram
    assert not rows(4, 16, 16).by_gram
    assert not rows(20, 64, 64).by_gram
    pairs = 100 * 101 / 2
    assert rows(1, 8, 8).spent == pairs * 16
    assert rows(4, 16, 16).spent == pairs * 256 + 100 * 4 * 256


def test_the_work_is_counted() -> None:
    at, _ = linearised("dense", "least-squares")
    before = at.ledger.state_dict()
    at.row_gram([1.0] * 4)
    counted = at.ledger.since(before)
    m, pairs = 21, 21 * 22 / 2
    spent = (pairs + m) * (4 * 5 + 5 * 3) + pairs * (5 + 3)  # weights by gradients, biases
    assert counted["deltas"] == m
    assert counted["algebra"] == round(spent / (4 * 5 + 5 * 3))
    assert counted["jvp"] == counted["vjp"] == 0


def test_a_divided_batch_is_refused() -> None:
    at, _ = linearised("dense", "least-squares")
    at.share = replace(at.share, ranks=object.__new__(Ranks))
    with pytest.raises(ConfigError, match="^the inner products of all rows need all cases in one process"):
        at.row_gram([1.0] * 4)


def test_rows_of_a_layer_are_those_of_the_pass() -> None:
    seen = LayerIO(nn.Linear(2, 3), torch.ones(4, 2), torch.ones(4, 3))
    assert [side.shape for side in seen.rows()] == [(4, 1, 3), (4, 1, 2)]
