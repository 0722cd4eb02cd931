"""The memory of a step: told beforehand, kept below a limit, with the results of the whole batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.systems import inputs_for, network, targets_for
from torch import Tensor, nn

import hfbench
import hfbench.hessian_free.memory_rehearsal
import hfbench.hessian_free.optimizer
from hfbench import HessianFree
from hfbench.curvature.linearisation import Linearisation
from hfbench.errors import ConfigError
from hfbench.hessian_free.step import StepSettings, compute_step
from hfbench.memory.allocations import Tally
from hfbench.memory.byte_sizes import in_words
from hfbench.memory.forecast import ChunkPlan, Forecast, resident_bytes

LOSSES = ("least-squares", "logistic", "softmax")
DTYPE = torch.float64
Batch = tuple[Tensor, Tensor]


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.LSTM(2, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layer(x)[0][:, -1])


def make(kind: str, cases: int) -> tuple[nn.Module, str, Tensor, Tensor]:
    """A network in float32 with a batch."""
    torch.manual_seed(0)
    if kind == "dense":
        return network((30, 60, 10), 0, torch.float32), "logistic", torch.rand(cases, 30), torch.rand(cases, 10)
    if kind == "wide":  # more parameters than cases have activations
        return network((80, 90, 80), 0, torch.float32), "logistic", torch.rand(cases, 80), torch.rand(cases, 80)
    if kind == "conv":
        layers = nn.Conv2d(1, 4, 3, padding=1), nn.Sigmoid(), nn.Conv2d(4, 2, 3, stride=2), nn.Flatten()
        return nn.Sequential(*layers, nn.Linear(32, 5)), "softmax", torch.rand(cases, 1, 9, 9), torch.arange(cases) % 5
    if kind == "general":  # squared gradients case by case
        model = nn.Sequential(nn.Linear(20, 40), nn.LayerNorm(40), nn.Tanh(), nn.Linear(40, 10))
        return model, "least-squares", torch.rand(cases, 20), torch.rand(cases, 10)
    return Recurrent(), "least-squares", torch.rand(cases, 6, 2), torch.rand(cases, 2)


def measured(optimizer: HessianFree, *step: Any, **more: Any) -> tuple[Any, int]:
    """What the step gave, and the most bytes of tensors alive in it: weights, batch, warm start, and what it made."""
    warm = [one for state in optimizer.state.values() for one in state.values()]
    tensors = [one for given in step if given is not None for one in (given if isinstance(given, tuple) else (given,))]
    with Tally() as tally:
        result = optimizer.step(*step, **more)
    return result, resident_bytes(optimizer.model, [*tensors, *warm]) + tally.peak


def exhaust(kind: str, cases: int, curvature: int | None, **settings: Any) -> tuple[int, int]:
    """(predicted, measured) of a second step that goes on for all its inner iterations."""
    model, loss, x, t = make(kind, cases)
    optimizer = HessianFree(model, loss, rules=[], max_inner=6, **settings)
    on = None if curvature is None else (x[:curvature], t[:curvature])
    optimizer.step(x, t, on)
    result, peak = measured(optimizer, x, t, on)
    assert result.predicted_memory is not None
    assert result.inner_iterations == 6
    return result.predicted_memory, peak


HOW = [{}, {"chunk": 30}, {"curvature": 20}, {"curvature": 20, "chunk": 30}]
OTHERS = [("conv", "cg", HOW[0]), ("conv", "lsmr", HOW[3]), ("general", "lsqr", HOW[1]), ("recurrent", "lsmr", HOW[0])]


@pytest.mark.parametrize(
    ("kind", "solver", "how"),
    [*((kind, solver, how) for kind in ("dense", "wide") for solver in ("cg", "lsmr", "lsqr") for how in HOW), *OTHERS],
)
def test_the_prediction_is_what_is_measured(kind: str, solver: str, how: dict[str, int]) -> None:
    preconditioner = "martens" if solver == "cg" else "chapelle-erhan"
    settings = {"solver": solver, "preconditioner": preconditioner, "chunk": how.get("chunk")}
    predicted, peak = exhaust(kind, 60, how.get("curvature"), **settings)
    assert predicted == pytest.approx(peak, rel=0.08)


@pytest.mark.parametrize(
    "settings",
    [
        {"layout": "flat"}, {"solver": "minres"}, {"preconditioner": "kfac"}, {"preconditioner": "identity"},
        {"loss": "softmax"},
        {"globalization": {"backtracking": False}}, {"globalization": {"warm_start": 0.0}}, {"precision": "float64"},
    ],
)  # fmt: skip
def test_the_prediction_knows_every_setting(settings: dict[str, Any]) -> None:
    model, loss, x, t = make("wide", 60)
    settings = {"loss": loss, **settings}
    t = t.argmax(1) if settings["loss"] == "softmax" else t
    optimizer = HessianFree(model, rules=[], max_inner=11, **settings)
    optimizer.step(x, t)
    result, peak = measured(optimizer, x, t)
    assert result.predicted_memory == pytest.approx(peak, rel=0.08)


def test_kept_iterates_are_part_of_it() -> None:
    model, loss, x, t = make("wide", 5)
    long, short = (HessianFree(model, loss, max_inner=most).step(x, t).predicted_memory for most in (250, 5))
    kept = 5, 7, 9, 11, 15, 19, 25, 32, 42, 54, 70, 91, 118, 154, 200
    assert (long or 0) - (short or 0) == len(kept) * 4 * sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("most", [2**31, 10**18, 10**400])
def test_a_solve_without_a_limit_is_forecast_at_once(most: int) -> None:
    """The kept iterates grow with the logarithm of `max_inner`, and so does the time to count them."""
    model, loss, x, t = make("dense", 5)
    settings: Any = {"rules": [{"use": "fixed-iterations", "iterations": 1}]}
    huge, usual = (HessianFree(model, loss, max_inner=k, **settings).step(x, t).predicted_memory for k in (most, 250))
    kept = 4 * sum(p.numel() for p in model.parameters())
    assert huge is not None
    assert usual is not None
    assert usual < huge < usual + kept * 3 * math.log2(most)


# ---------------------------------------------------------------- within a limit


@pytest.mark.parametrize(
    ("kind", "solver", "curvature"),
    [
        *((kind, solver, cases) for kind in ("dense", "wide") for solver in ("cg", "lsmr") for cases in (None, 60)),
        *(("conv", "lsmr", None), ("conv", "cg", 60), ("general", "cg", None)),
        pytest.param("recurrent", "lsmr", 60, marks=pytest.mark.slow),
    ],
)
def test_a_step_stays_below_its_limit(kind: str, solver: str, curvature: int | None) -> None:
    whole, _ = exhaust(kind, 200, curvature, solver=solver)
    least, _ = exhaust(kind, 200, curvature, solver=solver, chunk=20)
    for limit in (int(0.8 * whole + 0.2 * least), int(1.01 * least)):
        predicted, peak = exhaust(kind, 200, curvature, solver=solver, max_bytes=limit)
        assert predicted <= limit
        assert peak <= limit * (1.08 if kind == "recurrent" else 1)  # oneDNN's LSTM rounds its workspace up
        assert predicted > 0.5 * limit, "and makes use of it"


def parts(loss: str, model: nn.Module, x: Tensor, t: Tensor, **settings: Any) -> list[Tensor]:
    at = hfbench.linearize(model, loss, x, t, **settings)
    v = at.layout.unpack(at.gradient)
    numbers = at.value, at.variance_l1, at.variance_along(at.gradient), at.squared_norms(at.residual)
    vectors = at.gradient, at.gauss_newton(at.layout.pack(v)), at.vjp(at.residual), at.squared_sums(at.residual)
    return [torch.tensor(numbers, dtype=DTYPE), at.outputs, at.jvp(at.gradient), *(b for v in vectors for b in v)]


@pytest.mark.parametrize(
    ("loss", "layout", "kind"),
    [
        *((loss, layout, "dense") for loss in LOSSES for layout in ("structured", "flat")),
        *((loss, "structured", kind) for loss, kind in zip(LOSSES, ("conv", "general", "recurrent"), strict=True)),
    ],
)
def test_a_linearisation_below_a_limit_is_the_same(loss: str, layout: str, kind: str) -> None:
    model, _, x, _ = make(kind, 80)
    model, x = model.double(), x.double()
    t = targets_for(loss, 80, model(x).shape[1], 1)
    whole = parts(loss, model, x, t, layout=layout)
    with Tally() as tally:
        parts(loss, model, x, t, layout=layout)
    limit = resident_bytes(model, (x, t)) + int(0.8 * tally.peak)
    at = hfbench.linearize(model, loss, x, t, layout=layout, max_bytes=limit)
    assert 1 <= at.chunk < 80
    for a, b in zip(parts(loss, model, x, t, layout=layout, max_bytes=limit), whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12 * float(b.abs().max()))


def _least(of: Callable[[int], object]) -> int:
    """The least limit that is accepted, by bisection."""
    low, high = 1, 10**9
    while low < high:
        middle = (low + high) // 2
        try:
            of(middle)
        except ConfigError:
            low = middle + 1
        else:
            high = middle
    return low


@pytest.mark.parametrize("solver", ["cg", "lsmr", "lsqr"])
@pytest.mark.parametrize("preconditioner", ["identity", "martens", "chapelle-erhan", "exact-diagonal", "kfac"])
@pytest.mark.parametrize("shared", [True, False])
def test_steps_below_a_limit_are_the_same(solver: str, preconditioner: str, shared: bool) -> None:
    x, t = inputs_for(300, 5, 1), targets_for("logistic", 300, 3, 2)
    curvature = None if shared else (x[:250], t[:250])
    evidence = ("variance_l1", "variance_inner")

    def steps(**settings: Any) -> tuple[list[dict[str, Any]], list[Tensor]]:
        model = network((5, 30, 3), 0)
        optimizer = HessianFree(model, solver=solver, preconditioner=preconditioner, decay=0.01, **settings)
        rows = [optimizer.step(x, t, curvature, evidence).to_row() for _ in range(2)]
        return rows, [p.detach() for p in model.parameters()]

    whole, weights = steps()
    bound = whole[0]["predicted_memory"]
    rows, below = steps(max_bytes=int(0.9 * bound))
    assert all(row["predicted_memory"] <= 0.9 * bound for row in rows)
    for a, b in zip(below, weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)
    for row, other in zip(rows, whole, strict=True):
        assert row["objective_after"] == pytest.approx(other["objective_after"], rel=1e-9)
        assert row["variance_inner"] == pytest.approx(other["variance_inner"], rel=1e-7)


def test_what_fits_whole_is_not_streamed() -> None:
    x, t = inputs_for(30, 5, 1), targets_for("logistic", 30, 3, 2)
    models = [network((5, 6, 3), 0) for _ in range(2)]
    rows = [HessianFree(m, max_bytes=limit).step(x, t).to_row() for m, limit in zip(models, (None, "1GB"), strict=True)]
    assert rows[0] == rows[1]
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))


@pytest.mark.parametrize("curvature", [None, 7])
def test_a_limit_below_one_case_is_refused_and_nothing_is_lost(curvature: int | None) -> None:
    x, t = inputs_for(30, 5, 1), targets_for("logistic", 30, 3, 2)
    on = None if curvature is None else (x[:curvature], t[:curvature])
    model = network((5, 6, 3), 0)
    optimizer = HessianFree(model, max_bytes="1GB", preconditioner="chapelle-erhan")
    optimizer.step(x, t, on)
    weights, state = [p.clone() for p in model.parameters()], optimizer.state_dict()
    least = _least(lambda size: _planned(optimizer, size, (x, t), on))
    optimizer.max_bytes = least - 1
    says = (
        rf"max_bytes: must be at least {in_words(least)} for {30 + (curvature or 0)} cases \(.* for one case in the "
        rf"model and .* for all else: .*\), but is {in_words(least - 1)}: raise it"
    )
    with pytest.raises(ConfigError, match=says):
        optimizer.step(x, t, on)
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    after = optimizer.state_dict()
    assert torch.equal(after["param_groups"][0]["generator"], state["param_groups"][0]["generator"])
    optimizer.max_bytes = least
    _, peak = measured(optimizer, x, t, on)
    assert peak <= least


def _planned(optimizer: HessianFree, limit: int, batch: Batch, curvature: Batch | None) -> ChunkPlan:
    optimizer.max_bytes = limit
    return optimizer.prepare(*batch, curvature)


def test_chunk_and_limit_both_hold() -> None:
    x, t = inputs_for(60, 5, 1), targets_for("logistic", 60, 3, 2)
    optimizer = HessianFree(network((5, 30, 3), 0))
    bound = _planned(optimizer, 10**9, (x, t), None)
    assert bound.chunk is None
    by_limit = _planned(optimizer, int(0.8 * (bound.peak or 0)), (x, t), None).chunk
    assert by_limit is not None
    for chunk, expected in ((2, 2), (59, by_limit)):
        optimizer.chunk = chunk
        assert _planned(optimizer, int(0.8 * (bound.peak or 0)), (x, t), None).chunk == expected
    optimizer.chunk = 7
    assert _planned(optimizer, 10**9, (x, t), None).chunk == 7


# ---------------------------------------------------------------- rehearsals


def test_a_rehearsal_leaves_no_trace() -> None:
    x, t = inputs_for(30, 5, 1), targets_for("logistic", 30, 3, 2)
    model = network((5, 6, 3), 0)
    optimizer = HessianFree(model, solver="lsmr", preconditioner="chapelle-erhan", chunk=8)
    weights, drawn, ledger = [p.clone() for p in model.parameters()], optimizer.generator.get_state(), optimizer.ledger
    counted, torch_drawn = ledger.state_dict(), torch.get_rng_state()
    assert (_planned(optimizer, 10**9, (x, t), (x[:9], t[:9])).peak or 0) > 0
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert torch.equal(optimizer.generator.get_state(), drawn)
    assert torch.equal(torch.get_rng_state(), torch_drawn)
    assert optimizer.ledger is ledger
    assert (ledger.state_dict(), len(optimizer.state), optimizer.iteration) == (counted, 0, 0)


def test_one_rehearsal_serves_all_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def counted(settings: StepSettings, damping: float, last_iterate: Any, batch: Batch, *more: Any) -> Any:
        made.append(len(batch[0]))
        return compute_step(settings, damping, last_iterate, batch, *more)

    for module in (hfbench.hessian_free.optimizer, hfbench.hessian_free.memory_rehearsal):
        monkeypatch.setattr(module, "compute_step", counted)
    optimizer = HessianFree(network((5, 6, 3), 0))
    for cases in (10, 20, 30):
        optimizer.step(inputs_for(cases, 5, 1), targets_for("logistic", cases, 3, 2))
    assert made == [2, 3, 10, 20, 30]


def test_a_step_that_cannot_be_rehearsed_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Forecast:
        raise RuntimeError("not on so few cases")

    monkeypatch.setattr(Forecast, "of", fail)
    x, t = inputs_for(30, 5, 1), targets_for("logistic", 30, 3, 2)
    result = HessianFree(network((5, 6, 3), 0)).step(x, t)
    assert result.predicted_memory is None
    assert result.step_length > 0
    with pytest.raises(RuntimeError, match="so few cases"):
        HessianFree(network((5, 6, 3), 0), max_bytes="1GB").step(x, t)


# ---------------------------------------------------------------- nothing is held that is not needed


@pytest.mark.parametrize("solver", ["cg", "lsmr"])
@pytest.mark.parametrize("chunk", [None, 16])
def test_after_a_step_only_the_warm_start_is_there(solver: str, chunk: int | None) -> None:
    model, loss, x, t = make("dense", 50)
    optimizer = HessianFree(model, loss, solver=solver, chunk=chunk)
    with Tally() as tally:
        optimizer.step(x, t)
    assert tally.live == sum(p.numel() * p.element_size() for p in model.parameters())


def test_the_transposed_graph_holds_no_zeros() -> None:
    """Of J as the transpose of Jᵀ, nothing that depends on the dummy u is kept but u itself."""
    model, loss, x, t = make("dense", 50)
    at = Linearisation(model, loss, x, t)
    v = at.parameters
    with Tally() as tally:
        at.jvp(v)
    assert tally.live <= 1.5 * at.outputs.numel() * 4


def test_products_in_another_dtype_keep_their_own_graph_alone() -> None:
    model, loss, x, t = make("dense", 50)
    at = Linearisation(model, loss, x, t, precision="float64")
    assert at.value > 0
    assert at.kept is not None
    forward = at.ledger.forward
    at.keep_for_products()
    at.gauss_newton(at.parameters)
    assert "kept" not in vars(at)
    assert at.ledger.forward == forward + 50, "one pass in the products' dtype, and none again"
    same = Linearisation(model, loss, x, t)
    kept = same.kept
    same.keep_for_products()
    assert same.kept is kept


def test_two_chunks_are_never_there_together() -> None:
    model, loss, x, t = make("dense", 96)
    peaks = []
    for cases in (32, 96):
        at = Linearisation(model, loss, x[:cases], t[:cases], chunk=16)
        v = at.parameters
        with Tally() as tally:
            at.gauss_newton(v)
        peaks.append(tally.peak)
    assert peaks[0] == peaks[1]


def test_the_gradient_graph_is_gone_before_the_curvature_is_recorded() -> None:
    model, loss, x, t = make("dense", 400)
    optimizer = HessianFree(model, loss, preconditioner="martens", globalization={"backtracking": False})
    _, shared = measured(optimizer, x, t)
    _, apart = measured(optimizer, x, t, (x[:350], t[:350]))
    assert apart < 1.2 * shared, "not the sum of both"
