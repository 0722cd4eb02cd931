"""Units of passes: those of the convention where it holds, and of other networks what their passes really take."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import pytest
import torch
from support.systems import OnceDifferentiable
from torch import Tensor, nn

from hfbench.curvature import pass_units
from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.pass_units import units_of
from hfbench.curvature.work_ledger import UNITS
from hfbench.memory.allocations import Tally


class Residual(nn.Module):
    """Dense layers that are no chain."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(x + self.inner(x).tanh())


class Words(nn.Module):
    """Integers in, through an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.outer = nn.Embedding(9, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.table(x).mean(1))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.layer, self.outer = kind(3, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.layer(x)[0][:, -1])


class Noisy(nn.Module):
    """Draws, and keeps statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Squares(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return OnceDifferentiable.apply(x)


def convolutional() -> nn.Module:
    return nn.Sequential(
        *(nn.Unflatten(1, (2, 8)), nn.Conv1d(2, 4, 4, 2, 1), nn.Tanh()),
        *(nn.ConvTranspose1d(4, 2, 4, 2, 1), nn.Flatten()),
    )


NETWORKS: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "residual": (Residual, (6,)),
    "convolutional": (convolutional, (16,)),
    "recurrent": (lambda: Recurrent(nn.GRU), (5, 3)),
}


def test_a_chain_of_dense_layers_has_the_units_of_the_convention() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))
    assert units_of(model, torch.randn(5, 6)) == UNITS


def test_so_has_any_network_of_dense_layers() -> None:
    """The deltas of the inputs, which no pass takes, are counted there too."""
    units = units_of(Residual(), torch.randn(5, 6))
    assert units == UNITS | {"squares": units["squares"]}
    assert 2 < units["squares"] <= 3, "with one backward pass at most, which tells whether layers have the cases first"


def test_a_convolution_takes_the_units_of_a_dense_layer_and_forms_each_cases_gradient() -> None:
    model = convolutional()
    units = units_of(model, torch.randn(5, 16))
    assert units == UNITS | {"norms": 2.0, "squares": units["squares"]}
    assert 2 < units["squares"] <= 3


def test_a_recurrent_net_takes_each_case_by_itself() -> None:
    units = units_of(Recurrent(nn.RNN), torch.randn(5, 7, 3))
    assert (units["backward"], units["transpose"]) == (units["vjp"], units["vjp"])
    assert 2.5 < units["squares"] == units["norms"] < 3.5, "forward, deltas and an outer product per place"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fused_kernels_are_counted(dtype: torch.dtype) -> None:
    """An LSTM in float32 may be one kernel of oneDNN, in float64 it is matrix products."""
    model, x = Recurrent(nn.LSTM).to(dtype), torch.randn(1, 7, 3, dtype=dtype)
    assert pass_units._operations(lambda: model(x)) == 2 * (7 * 32 * (3 + 8) + 8 * 2)


def test_products_with_one_vector_are_counted() -> None:
    W, x, batch = torch.ones(4, 3), torch.ones(3), torch.ones(2, 4, 3)
    out = torch.zeros(4)
    assert pass_units._operations(lambda: (W @ x, torch.addmv(out, W, x), out.addmv_(W, x))) == 3 * 24
    assert pass_units._operations(lambda: torch.zeros(4, 4).addmm_(W, W.T)) == 96
    assert pass_units._operations(lambda: torch.zeros(2, 4, 4).baddbmm_(batch, batch.transpose(1, 2))) == 192


def test_integers_have_no_deltas() -> None:
    units = units_of(Words(), torch.randint(0, 9, (4, 7)))
    assert (units["backward"], units["jvp"]) == (2, 2)


@pytest.mark.parametrize("name", NETWORKS)
def test_units_are_of_the_network_alone(name: str) -> None:
    """Not of the cases, how many they are, their precision, or whether derivatives are recorded outside."""
    make, shape = NETWORKS[name]
    model, x = make(), torch.randn(9, *shape)
    units = units_of(model, x)
    with torch.no_grad():
        assert units_of(copy.deepcopy(model), 3 * x[4:7] + 1) == units
    assert units_of(copy.deepcopy(model).double(), x.double()) == units


def test_the_model_is_tried_once_per_shape_of_a_case(monkeypatch: pytest.MonkeyPatch) -> None:
    model, passes = Recurrent(nn.RNN), []
    model.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    short, long = units_of(model, torch.randn(5, 4, 3)), units_of(model, torch.randn(5, 8, 3))
    tried = len(passes)
    assert set(passes[:1]) == {pass_units.CASES}
    assert units_of(model, torch.randn(50, 4, 3)) == short != long == units_of(model, torch.randn(7, 8, 3))
    assert len(passes) == tried
    model.outer.requires_grad_(False)
    assert units_of(model, torch.randn(5, 4, 3)) != short, "what is trained decides which products a pass takes"


def test_the_model_and_generators_are_left_as_they_were() -> None:
    model = Noisy().train()
    before, drawn = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    buffers = [id(buffer) for buffer in model.buffers()]
    units = units_of(model, torch.randn(5, 6, generator=torch.Generator().manual_seed(0)))
    assert units["backward"] == 2
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [id(buffer) for buffer in model.buffers()] == buffers
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(p.grad is None for p in model.parameters())


def test_a_network_that_does_not_run_has_the_units_of_the_convention() -> None:
    assert units_of(Residual(), torch.randn(5, 4)) == UNITS


def test_a_network_without_a_matrix_product_has_the_units_of_the_convention() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.scale * x

    assert units_of(Scaled(), torch.randn(5, 3)) == UNITS


def test_forward_mode_takes_a_forward_pass_with_each_product() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3), Squares())
    assert units_of(model, torch.randn(5, 6))["jvp"] == 1 + 2
    at = Linearisation(model, "least-squares", torch.randn(5, 6), torch.zeros(5, 3))
    for _ in range(2):
        at.jvp(at.gradient)
    assert at.product_mode == "forward"
    assert (at.ledger.forward, at.ledger.transpose, at.ledger.jvp) == (5, 5, 10), "one try at a transpose"


def test_a_rehearsal_is_not_disturbed() -> None:
    model = Residual()
    with Tally() as tally:
        assert units_of(model, torch.zeros(5, 6)) == UNITS
    assert len(tally.moments) == 1, "the inputs"


@pytest.mark.parametrize(("chunk", "transposes"), [(None, 5), (2, 3 * 5)])
def test_every_recorded_transpose_is_counted(chunk: int | None, transposes: int) -> None:
    model, x = convolutional(), torch.randn(5, 16)
    at = Linearisation(model, "least-squares", x, x, chunk=chunk)
    for _ in range(3):
        at.gauss_newton(at.gradient)
    at.vjp(at.residual)
    assert at.ledger.transpose == transposes
    assert at.ledger.units == units_of(model, x)
