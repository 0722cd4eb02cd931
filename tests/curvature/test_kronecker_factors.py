"""Kronecker factors against sums over rows written out by hand, and what they refuse."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import pytest
import torch
from support.misplaced_cases import MISPLACED, batch_of
from support.systems import Tied, Twice, flat, inputs_for, network
from torch import Tensor, nn

import hfbench.curvature.kronecker_factors
from hfbench.curvature.block_factors import DiagonalFactor
from hfbench.curvature.kronecker_factors import LayerFactors, check_factors
from hfbench.curvature.linearisation import Linearisation
from hfbench.errors import ConfigError
from hfbench.linalg.precision import has_bfloat16
from hfbench.linalg.vector import Vector

DTYPE = torch.float64


def draws(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DTYPE)


def filled(model: nn.Module) -> nn.Module:
    for i, p in enumerate(model.to(DTYPE).parameters()):
        p.data = 0.5 * draws(*p.shape, seed=100 + i)
    return model


def linearised(model: nn.Module, x: Tensor, chunk: int | None = None) -> Linearisation:
    return Linearisation(model, "least-squares", x, torch.zeros_like(model(x).detach()), chunk=chunk)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_dense_factors_are_second_moments_of_inputs_and_deltas() -> None:
    """Inputs by running the layers one after another, deltas by one Jacobian per case and layer output."""
    model, x = network((4, 5, 3), 0), inputs_for(8, 4, 1)
    at, u = linearised(model, x), draws(8, 3, seed=2)
    hidden = model[1](model[0](x)).detach()
    W, slope = model[2].weight.detach(), 1 - hidden.square()
    for one, a, delta in zip(at.kronecker_factors([u]), (x, hidden), ((u @ W) * slope, u), strict=True):
        homogeneous = torch.cat([a, torch.ones(8, 1, dtype=DTYPE)], 1)
        close(one.right, homogeneous.T @ homogeneous / 8)
        close(one.left, delta.T @ delta / 8)


def test_a_layer_with_one_case_has_them_exactly() -> None:
    """With one case, and one row, g gᵀ = L ⊗ R: nothing is approximated."""
    model, x, u = filled(nn.Sequential(nn.Linear(3, 4))), draws(1, 3), draws(1, 4, seed=2)
    (one,) = linearised(model, x).kronecker_factors([u])
    g = torch.cat([b.reshape(4, -1) for b in linearised(model, x).vjp(u)], 1).reshape(-1)
    close(torch.kron(one.left, one.right), torch.outer(g, g))


def test_probes_are_averaged_and_inputs_taken_once() -> None:
    model, x = network((4, 5, 3), 0), inputs_for(8, 4, 1)
    at = linearised(model, x)
    us = [draws(8, 3, seed=k) for k in (2, 3, 4)]
    together, apart = at.kronecker_factors(us), [at.kronecker_factors([u]) for u in us]
    for i, one in enumerate(together):
        close(one.right, apart[0][i].right)
        close(one.left, sum(each[i].left for each in apart) / 3)


def windows_by_hand(x: Tensor, kernel: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """Every window of a picture (cases × channels × h × w), cut out one by one: cases × places × entries."""
    rows = range(0, x.shape[2] - kernel[0] + 1, stride[0])
    columns = range(0, x.shape[3] - kernel[1] + 1, stride[1])
    cut = [x[:, :, i : i + kernel[0], j : j + kernel[1]].flatten(1) for i in rows for j in columns]
    return torch.stack(cut, 1)


def test_convolutions_sum_over_places() -> None:
    model, x = filled(nn.Sequential(nn.Conv2d(2, 3, (2, 3), (1, 2), padding=(1, 0)))), draws(5, 2, 4, 7)
    u = draws(5, 3, 5, 3, seed=2)
    (one,) = linearised(model, x).kronecker_factors([u])
    padded = torch.zeros(5, 2, 6, 7, dtype=DTYPE)
    padded[:, :, 1:-1] = x
    a = windows_by_hand(padded, (2, 3), (1, 2))
    a = torch.cat([a, torch.ones(5, 15, 1, dtype=DTYPE)], 2)
    delta = u.permute(0, 2, 3, 1).reshape(-1, 3)
    close(one.right, torch.einsum("nti,ntj->ij", a, a) / 5)
    close(one.left, delta.T @ delta / (5 * 15))
    assert (one.places, one.pass_cost) == (15, 15 * 3 * 13)


def test_transposed_convolutions_swap_them_and_keep_the_bias_apart() -> None:
    model, x = filled(nn.Sequential(nn.ConvTranspose2d(2, 3, 2, 2))), draws(5, 2, 3, 3)
    u = draws(5, 3, 6, 6, seed=2)
    weight, bias = linearised(model, x).kronecker_factors([u])
    delta, a = windows_by_hand(u, (2, 2), (2, 2)), x.permute(0, 2, 3, 1).reshape(-1, 2)
    close(weight.right, torch.einsum("nti,ntj->ij", delta, delta) / 5)
    close(weight.left, a.T @ a / (5 * 9))
    units = u.permute(0, 2, 3, 1).reshape(-1, 3)
    close(bias.left, units.T @ units / (5 * 36))
    close(bias.right, torch.full((1, 1), 36.0, dtype=DTYPE))
    assert (weight.weight, weight.bias, bias.weight, bias.bias) == (0, None, None, 1)


def test_the_exact_block_is_the_mean_where_places_are_uncorrelated() -> None:
    """Rows at different places drawn independently: over many cases the block of G approaches L ⊗ R."""
    cases, places = 4000, 3
    model = filled(nn.Sequential(nn.Linear(2, 2, bias=False)))
    x, u = draws(cases, places, 2), draws(cases, places, 2, seed=2)
    (one,) = linearised(model, x).kronecker_factors([u])
    g = torch.einsum("nti,ntj->nij", u, x).reshape(cases, -1)
    block = g.T @ g / cases
    assert (torch.kron(one.left, one.right) - block).norm() < 0.05 * block.norm()
    assert one.places == places


@pytest.mark.parametrize("chunk", [1, 3])
def test_chunks_and_slices_change_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = filled(nn.Sequential(nn.Conv2d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)))
    x, u = draws(7, 1, 3, 3), draws(7, 3, seed=2)
    whole = linearised(model, x).kronecker_factors([u, -u])
    monkeypatch.setattr(hfbench.curvature.kronecker_factors, "SLICE_ENTRIES", 20)
    for one, other in zip(linearised(model, x, chunk).kronecker_factors([u, -u]), whole, strict=True):
        close(one.left, other.left)
        close(one.right, other.right)
        assert one.places == other.places


class Folded(nn.Module):
    """Folds a sequence into the cases, where rows cannot be told by case: their sums can."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.reshape(-1, 2)).reshape(len(x), -1)


def test_rows_need_not_be_told_by_case() -> None:
    model, x = filled(Folded()), draws(5, 4, 2)
    (one,) = linearised(model, x).kronecker_factors([torch.ones(5, 12, dtype=DTYPE)])
    close(one.right[:2, :2], torch.einsum("nti,ntj->ij", x, x) / 5)
    assert one.places == 4


def by_case(model: nn.Module, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor, int]:
    """Σ l lᵀ and Σ r rᵀ of a model of one layer, from a pass per case, and rows per case.

    The layer's input and delta are autograd's; l and r are cut out of them window by window.
    """
    layer, left, right = model.layer, [], []
    for i in range(len(x)):
        met: list[Tensor] = []
        handle = layer.register_forward_hook(lambda layer, args, output, met=met: met.extend([args[0], output]))
        z = model(x[i : i + 1])
        handle.remove()
        (delta,) = torch.autograd.grad(z, met[1], u[i : i + 1])
        dense, swapped = isinstance(layer, nn.Linear), isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d)
        small, big = (delta, met[0]) if not swapped else (met[0], delta)
        small, big = small.detach(), big.detach()
        if dense:
            left += [*small.reshape(-1, small.shape[-1])]
            right += [*big.reshape(-1, big.shape[-1])]
            continue
        flat_places = [(b, p) for b in range(len(small)) for p in _places(small.shape[2:])]
        left += [small[(b, slice(None), *p)] for b, p in flat_places]
        ends = [tuple(slice(s, s + k) for s, k in zip(p, layer.kernel_size, strict=True)) for _, p in flat_places]
        right += [big[(b, slice(None), *end)].flatten() for (b, _), end in zip(flat_places, ends, strict=True)]
    L, R = torch.stack(left), torch.stack(right)
    return L.T @ L, R.T @ R, len(left) // len(x)


def _places(shape: torch.Size) -> list[tuple[int, ...]]:
    return list(itertools.product(*map(range, shape)))


NOT_COVERED = ("conv3d-places-first", "conv2d-groups-places-first", "transposed-3d-places-first")
COVERED = [name for name in MISPLACED if name not in (*NOT_COVERED, "table", "chosen-rows", "lone-case")]


@pytest.mark.parametrize("name", COVERED)
@pytest.mark.parametrize("chunk", [None, 3])
def test_places_that_stand_before_the_cases(name: str, chunk: int | None) -> None:
    """Their rows are the same in another order; kernels have stride 1 here, and no padding."""
    model, x = batch_of(name)
    u = draws(*model(x).shape, seed=2)
    weight = linearised(model, x, chunk).kronecker_factors([u])[0]
    left, right, places = by_case(model, x, u)
    q = len(right)  # beside it may stand the homogeneous coordinate
    close(weight.left, left / (len(x) * places))
    close(weight.right[:q, :q], right / len(x))
    assert weight.places == places


def test_rows_that_all_cases_share_have_the_right_block_on_average() -> None:
    """Over all signs v of u = B v, here v itself; in chunks of several sizes there is no one number of rows."""
    model, x = batch_of("table")
    model.layer.bias.requires_grad_(False)
    signs = [torch.tensor(v, dtype=DTYPE).reshape(4, 2) for v in itertools.product((-1.0, 1.0), repeat=8)]
    (one,) = linearised(model, x).kronecker_factors(signs)
    halves = linearised(model, x, chunk=2).kronecker_factors(signs)[0]
    deltas = torch.zeros(2, 2, dtype=DTYPE)
    for i, v in itertools.product(range(4), signs):
        output = model.layer(model.table)
        (delta,) = torch.autograd.grad(torch.tanh(x[i] @ output), output, v[i])
        deltas += delta.T @ delta / (4 * 4 * len(signs))
    expected = torch.kron(deltas, model.table.T @ model.table)
    close(torch.kron(one.left, one.right), expected)
    close(torch.kron(halves.left, halves.right), expected)
    with pytest.raises(ConfigError, match="parameter 0 has 2 per case in one chunk and 4 in another"):
        linearised(model, x[[0, 1, 2, 3, 0]], chunk=2).kronecker_factors([torch.ones(5, 2, dtype=DTYPE)])


def test_frozen_parameters_are_left_out() -> None:
    model, x = network((4, 5, 3), 0), inputs_for(8, 4, 1)
    model[0].bias.requires_grad_(False)
    model[2].weight.requires_grad_(False)
    first, second = linearised(model, x).kronecker_factors([torch.ones(8, 3, dtype=DTYPE)])
    assert (first.weight, first.bias, first.shape) == (0, None, (5, 4))
    assert (second.weight, second.bias, second.shape) == (None, 1, (3, 1))


def test_a_block_takes_its_entries_and_puts_them_back() -> None:
    model = filled(nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(8, 3)))
    at = linearised(model, draws(7, 1, 3, 3))
    parts, back = list(at.blocks), [torch.zeros_like(p) for p in at.blocks]
    for one in at.kronecker_factors([torch.ones(7, 3, dtype=DTYPE)]):
        V = one.take(parts, DTYPE)
        assert V.shape == one.shape
        one.put(V, back)
    assert (flat(Vector(back)) == flat(at.blocks)).all()


def lone() -> tuple[nn.Module, Tensor]:
    return batch_of("lone-case", 1)


def uneven() -> tuple[nn.Module, Tensor]:
    model, x = batch_of("chosen-rows")
    return model, x[[0, 0, 1, 3]]


def empty() -> tuple[nn.Module, Tensor]:
    model, x = batch_of("chosen-rows")
    return model, x[[3, 3]]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lone, "gets one row, without a dimension for the cases"),
        (uneven, "gets 5 rows of 4 cases, and must get as many of each"),
        (empty, "gets 0 rows of 2 cases"),
    ],
)
def test_rows_that_are_not_as_many_for_each_case_are_refused(
    make: Callable[[], tuple[nn.Module, Tensor]], says: str
) -> None:
    model, x = make()
    with pytest.raises(ConfigError, match=rf"layer 'layer' \(Linear\) {says}.*takes any layer"):
        linearised(model, x).kronecker_factors([torch.ones_like(model(x))])


class Second(nn.Module):
    """The outputs of a recurrent layer, without its last state."""

    def forward(self, given: tuple[Tensor, Tensor]) -> Tensor:
        return given[0][..., :1].flatten(1)


def shared() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    return model


class Partly(nn.Module):
    """A dense layer with factors before a part that has none."""

    def __init__(self, rest: nn.Module) -> None:
        super().__init__()
        self.first, self.rest = nn.Linear(4, 4), rest

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(torch.tanh(self.first(x)))


OTHERS = {
    "normalisation": nn.LayerNorm(4),
    "groups": nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Conv1d(2, 2, 1, groups=2), nn.Flatten()),
    "shared": shared(),
    "twice": Twice(),
    "tied": Tied(),
    "recurrent": nn.Sequential(nn.Unflatten(1, (2, 2)), nn.RNN(2, 3, batch_first=True), Second()),
}


@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("rest", OTHERS)
def test_parameters_without_factors_have_their_diagonal(rest: str, chunk: int | None) -> None:
    """The mean over cases and probes of squared gradients, each from a graph of its own."""
    model, x = filled(Partly(copy.deepcopy(OTHERS[rest]))), draws(5, 4)
    probes = [draws(*model(x).shape, seed=seed) for seed in (2, 3)]
    first, *others = linearised(model, x, chunk).kronecker_factors(probes)
    assert isinstance(first, LayerFactors)
    assert first.positions == [0, 1]
    homogeneous = torch.cat([x, torch.ones(5, 1, dtype=DTYPE)], 1)
    close(first.right, homogeneous.T @ homogeneous / 5)
    parameters = list(model.parameters())
    assert [i for block in others for i in block.positions] == list(range(2, len(parameters)))
    for block in others:
        assert isinstance(block, DiagonalFactor)
        squares = torch.zeros_like(parameters[block.position])
        for i, u in itertools.product(range(5), probes):
            z = model(x[i : i + 1])[0]
            squares += torch.autograd.grad(z, parameters[block.position], u[i])[0].square() / (5 * len(probes))
        close(block.squares, squares)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (nn.LayerNorm(4), r"there is none: the model itself \(LayerNorm\) is of another kind"),
        (shared(), "there is none: layers '0' and '2' share parameter '0.weight'"),
    ],
    ids=["normalisation", "shared"],
)
def test_a_model_without_any_layer_of_these_is_refused_before_it_runs(model: nn.Module, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        check_factors(model)
    with pytest.raises(ConfigError, match=f"{says}.*; a diagonal preconditioner takes any layer"):
        linearised(filled(model), draws(3, 4)).kronecker_factors([torch.ones(model(draws(3, 4)).shape, dtype=DTYPE)])


def test_what_shows_in_a_pass_is_refused_there() -> None:
    model = Twice()
    check_factors(model)
    with pytest.raises(ConfigError, match=r"layer 'layer' \(Linear\) is called more than once in a forward pass"):
        linearised(filled(model), draws(3, 4)).kronecker_factors([torch.ones(3, 4, dtype=DTYPE)])


# ---------------------------------------------------------------- precision


@pytest.mark.skipif(not has_bfloat16(torch.device("cpu")), reason="this CPU has no units for bfloat16")
def test_rows_of_bfloat16_are_summed_without_rounding() -> None:
    """A factor rounded to bfloat16 may have eigenvalues below zero by more than its damping."""
    model = nn.Sequential(nn.Linear(200, 150), nn.Sigmoid(), nn.Linear(150, 60)).float()
    x = torch.rand(64, 200, generator=torch.Generator().manual_seed(0))
    given = {"precision": "bfloat16", "gradient_precision": "products"}
    at = Linearisation(model, "least-squares", x, torch.zeros(64, 60), **given)
    first = at.kronecker_factors([torch.randn(64, 60, generator=torch.Generator().manual_seed(1))])[0]
    rows = torch.cat([x.bfloat16(), torch.ones(64, 1)], 1).double()
    assert first.right.dtype == torch.float32
    torch.testing.assert_close(first.right.double(), rows.T @ rows / 64, rtol=1e-5, atol=1e-6)
    assert float(torch.linalg.eigvalsh(first.right.double()).min()) > -1e-4
