"""What cannot be trained rightly is refused with the reason and what to do, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.systems import inputs_for, network, targets_for
from torch import Tensor, nn

from hfbench import HessianFree, linearize
from hfbench.curvature.objective import objective
from hfbench.errors import ConfigError

DTYPE = torch.float64
LOSS = "least-squares"


def batch(cases: int = 12, features: int = 4, outputs: int = 2) -> tuple[Tensor, Tensor]:
    return inputs_for(cases, features, 1), targets_for(LOSS, cases, outputs, 2)


def after(layer: nn.Module, width: int = 5) -> nn.Sequential:
    """A dense layer, the layer in question, and a dense layer to two outputs."""
    return nn.Sequential(nn.Linear(4, width), layer, nn.Linear(width, 2)).to(DTYPE)


class Rows(nn.Module):
    """Three rows of four per case through a layer, then a mean over rows and two outputs."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer, self.out = layer, nn.Linear(width, 2)
        self.to(DTYPE)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, None] * torch.arange(1.0, 4.0, dtype=x.dtype)[:, None]
        z = self.layer(x, x, x) if isinstance(self.layer, nn.MultiheadAttention) else self.layer(x)
        return self.out((z[0] if isinstance(z, tuple) else z).mean(1))


class Cut(nn.Module):
    """Cuts its inputs into 4 × 4 pictures for a pooling layer."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.first, self.pool, self.out = nn.Linear(4, 16), pool, nn.Linear(4, 2)
        self.to(DTYPE)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.pool(self.first(x).reshape(-1, 1, 4, 4)).flatten(1))


# ---------------------------------------------------------------- models


def half() -> nn.Module:
    model = network((4, 3, 2), 0)
    model[2].half()
    return model


def on_meta() -> nn.Module:
    return nn.Linear(4, 2, device="meta")


def inferred() -> nn.Module:
    with torch.inference_mode():
        return nn.Linear(4, 2)


MODELS: dict[str, tuple[Callable[[], Any], str]] = {
    "parameters": (lambda: network((4, 2), 0).parameters(), "Pass the model itself.*forward pass"),
    "list": (lambda: list(network((4, 2), 0).parameters()), "model: must be an nn.Module, but got list"),
    "groups": (lambda: [{"params": network((4, 2), 0).parameters()}], "not model.parameters()"),
    "tensor": (lambda: torch.zeros(3, requires_grad=True), "but got Tensor"),
    "function": (lambda: torch.tanh, "Pass the model itself"),
    "data-parallel": (lambda: nn.DataParallel(network((4, 2), 0)), "the model must be a plain.*model.module"),
    "inside": (lambda: nn.Sequential(nn.DataParallel(nn.Linear(4, 2))), "layer '0' of the model.*DataParallel"),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(3)), "parameter '0.weight' is not initialised: call the model once"),
    "meta": (on_meta, "meta device"),
    "inference": (inferred, "parameter 'weight' was made under torch.inference_mode"),
    "sparse": (lambda: nn.Embedding(5, 3, sparse=True), "sparse=False"),
    "by frequency": (lambda: nn.Embedding(5, 3, scale_grad_by_freq=True), "scale_grad_by_freq=False"),
    "bag by frequency": (lambda: nn.EmbeddingBag(5, 3, scale_grad_by_freq=True), "scale_grad_by_freq=False"),
    "half": (lambda: nn.Linear(4, 2).half(), "'weight' must be torch.float32 or torch.float64, but is torch.float16"),
    "bfloat16": (lambda: nn.Linear(4, 2).bfloat16(), r"is torch.bfloat16: .*model.float\(\)"),
    "complex": (lambda: nn.Linear(4, 2, dtype=torch.complex64), "complex64.*not defined for complex"),
    "some half": (half, "parameter '2.weight' must be"),
    "mixed": (lambda: nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2).double()), "one dtype, but '0.weight' has .*32"),
    "none trained": (lambda: nn.Linear(4, 2).requires_grad_(False), "requires_grad"),
}


@pytest.mark.parametrize("which", MODELS)
def test_models_that_cannot_be_trained(which: str) -> None:
    make, message = MODELS[which]
    with pytest.raises(ConfigError, match=message):
        HessianFree(make())


@pytest.mark.parametrize("traced", [False, True])
def test_script_modules(traced: bool) -> None:
    model, x, _ = network((4, 2), 0), *batch()
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        scripted = torch.jit.trace(model, x) if traced else torch.jit.script(model)
    with pytest.raises(ConfigError, match="pass the Python module it was scripted or traced from"):
        HessianFree(scripted)


def test_frozen_parameters_may_have_any_precision() -> None:
    """A half-precision embedding that is left alone is the model's own affair."""

    class Adapted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base = nn.Embedding(7, 4).half().requires_grad_(False)
            self.out = nn.Linear(4, 2, dtype=DTYPE)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.base(x).to(DTYPE))

    torch.manual_seed(0)
    model, x = Adapted(), torch.arange(12) % 7
    base = model.base.weight.clone()
    result = HessianFree(model, LOSS).step(x, batch()[1])
    assert result.objective_after < result.objective_before
    assert torch.equal(model.base.weight, base)


# ---------------------------------------------------------------- layers in a mode that does not fit

attention = nn.MultiheadAttention
LAYERS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "dropout": (lambda: after(nn.Dropout(0.2)), r"layer '1' of the model \(Dropout\) drops .*p=0.2.*model.eval\(\)"),
    "alpha-dropout": (lambda: after(nn.AlphaDropout(0.2)), "AlphaDropout"),
    "rrelu": (lambda: after(nn.RReLU()), "slopes at random"),
    "batch-norm": (lambda: after(nn.BatchNorm1d(5)), "statistics of the batch.*eval"),
    "recurrent": (lambda: Rows(nn.GRU(4, 3, 2, dropout=0.1, batch_first=True), 3), r"layer 'layer'.*dropout=0.1"),
    "attention": (lambda: Rows(attention(4, 2, dropout=0.1, batch_first=True), 4), "dropout=0.1"),
    "transformer": (lambda: Rows(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 4), "'layer.self_attn'"),
}


@pytest.mark.parametrize("which", LAYERS)
def test_layers_that_are_refused_in_training_mode_and_work_in_evaluation_mode(which: str) -> None:
    torch.manual_seed(0)
    make, message = LAYERS[which]
    model, (x, t) = make(), batch()
    optimizer = HessianFree(model, LOSS)
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(ConfigError, match=message):
        optimizer.step(x, t)
    with pytest.raises(ConfigError, match=message):
        linearize(model, LOSS, x, t)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    model.eval()
    result = optimizer.step(x, t)
    assert result.objective_after < result.objective_before
    assert not any(module.training for module in model.modules())
    model.train()
    with pytest.raises(ConfigError, match=message):
        optimizer.step(x, t)


@pytest.mark.parametrize(
    "make",
    [
        lambda: after(nn.Dropout(0.0)),
        lambda: Rows(nn.LSTM(4, 3, 1, batch_first=True), 3),
        lambda: Rows(nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True), 4),
        lambda: after(nn.LayerNorm(5)),
        lambda: after(nn.GroupNorm(1, 5)),
        lambda: Rows(nn.InstanceNorm1d(3), 4),
    ],
)
def test_layers_that_may_stay_in_training_mode(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model, (x, t) = make(), batch()
    result = HessianFree(model, LOSS).step(x, t)
    assert result.objective_after < result.objective_before
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: after(nn.BatchNorm1d(5, track_running_stats=False)), "use GroupNorm or LayerNorm"),
        (lambda: Cut(nn.FractionalMaxPool2d(2, 2)), "pools at random places in every mode"),
    ],
)
def test_layers_that_no_mode_mends(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        HessianFree(make().eval(), LOSS).step(*batch())


def test_running_statistics_of_an_instance() -> None:
    model = Rows(nn.InstanceNorm1d(3, track_running_stats=True), 4)
    with pytest.raises(ConfigError, match="changes its running statistics"):
        HessianFree(model, LOSS).step(*batch())


@pytest.mark.parametrize("kind", ["parameter", "module", "module before"])
def test_gradient_hooks_are_refused_until_they_are_removed(kind: str) -> None:
    model = network((4, 3, 2), 0)
    handle = {
        "parameter": lambda: model[0].weight.register_hook(lambda g: 0 * g),
        "module": lambda: model[0].register_full_backward_hook(lambda *_: None),
        "module before": lambda: model[0].register_full_backward_pre_hook(lambda *_: None),
    }[kind]()
    optimizer = HessianFree(model, LOSS)
    where = "parameter '0.weight'" if kind == "parameter" else "layer '0' of the model"
    with pytest.raises(ConfigError, match=f"{where} has a gradient hook.*handle.remove"):
        optimizer.step(*batch())
    handle.remove()
    assert optimizer.step(*batch()).step_length > 0


# ---------------------------------------------------------------- batches, outputs, contexts


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x, t: (), "inputs: must be one tensor.*but got NoneType.*optimizer.step\\(inputs, targets\\)"),
        (lambda x, t: (lambda: 0.0,), "takes no closure"),
        (lambda x, t: ((x, x), t), "wrap it in a module"),
        (lambda x, t: ({"a": x}, t), "got dict"),
        (lambda x, t: (x.numpy(), t), "got numpy.ndarray.*torch.as_tensor"),
        (lambda x, t: (x,), "targets: must be one tensor.*NoneType"),
        (lambda x, t: (x, 1.0), "got float"),
        (lambda x, t: (x[0, 0], t), "no dimensions"),
        (lambda x, t: (x[:0], t[:0]), "not empty"),
        (lambda x, t: (x, t[:-1]), "equally many"),
        (lambda x, t: (x, t, (x[:3], t[:2])), "equally many"),
        (lambda x, t: (x, t, x), "curvature: must be a pair"),
        (lambda x, t: (x, t, (x,)), "curvature: must be a pair"),
        (lambda x, t: (x.to("meta"), t), "inputs: must be on the model's device, cpu, but are on meta: use"),
        (lambda x, t: (x, t.to("meta")), "targets: must be on the model's device"),
        (lambda x, t: (x, t[:, :1]), "targets: must have the shape"),
        (
            lambda x, t: (x.to_sparse(), t),
            r"inputs: must be a dense tensor, .*torch.sparse_coo: use inputs.to_dense\(\)",
        ),
        (lambda x, t: (x, t.to_sparse()), r"targets: must be a dense tensor, .*use targets.to_dense\(\)"),
        (lambda x, t: (x, t, (x.to_sparse(), t)), "inputs: must be a dense tensor"),
        (lambda x, t: (torch.nested.as_nested_tensor(list(x), layout=torch.jagged), t), "layout nested: pad the cases"),
        (lambda x, t: (x, t.to(torch.complex128)), "targets: must be real, .*torch.complex128: .*view_as_real"),
        (lambda x, t: (x.to(torch.complex128), t), "inputs: must be real where .*complex128, with which it fails"),
        (lambda x, t: (x.long(), t), r"have torch.int64, with which it fails .*: use inputs.to\(torch.float64\)"),
        (lambda x, t: (x > 0, t), r"have torch.bool, with which it fails .*: use inputs.to\(torch.float64\)"),
        (lambda x, t: (x, t, (x.int(), t)), r"have torch.int32, .*: use inputs.to\(torch.float64\)"),
    ],
)
def test_batches_that_do_not_fit(spoil: Callable[[Tensor, Tensor], tuple[Any, ...]], message: str) -> None:
    model, (x, t) = network((4, 3, 2), 0), batch()
    optimizer = HessianFree(model, LOSS)
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(ConfigError, match=message):
        optimizer.step(*spoil(x, t))
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert optimizer.iteration == 0
    assert optimizer.step(x, t).step_length > 0


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("where", ["step", "curvature", "linearize"])
def test_targets_outside_the_loss_are_refused_before_anything_moves(where: str, chunk: int | None) -> None:
    model, (x, t) = network((4, 3, 2), 0), batch()
    optimizer = HessianFree(model, chunk=chunk)  # "logistic", the default
    good, bad = t.sigmoid(), 3 * t
    before = [p.clone() for p in model.parameters()]
    refused = {
        "step": lambda: optimizer.step(x, bad),
        "curvature": lambda: optimizer.step(x, good, (x, bad)),
        "linearize": lambda: linearize(model, "logistic", x, bad, chunk=chunk),
    }[where]
    with pytest.raises(ConfigError, match=r'lie in \[0, 1\] for loss="logistic", but are from -.*"least-squares"'):
        refused()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert optimizer.iteration == 0
    assert optimizer.step(x, good).step_length > 0


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_inputs_of_another_precision_are_refused_where_the_model_fails_on_them(
    dtype: torch.dtype, chunk: int | None
) -> None:
    model, (x, t) = network((4, 3, 2), 0), batch()
    optimizer, other = HessianFree(model, LOSS, chunk=chunk), x.to(dtype)
    message = f"inputs: must have the dtype.*torch.float64.*have {dtype}.*: use inputs.to\\(torch.float64\\)"
    for _ in range(2):  # when the model is tried, and when it has been
        with pytest.raises(ConfigError, match=message):
            optimizer.step(other, t)
        with pytest.raises(ConfigError, match=message):
            optimizer.step(x, t, (other, t))
        assert optimizer.step(x, t).step_length > 0
    with pytest.raises(ConfigError, match=message):
        linearize(model, LOSS, other, t, chunk=chunk)


@pytest.mark.parametrize("chunk", [None, 5])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_integers_are_right_where_the_model_looks_them_up(dtype: torch.dtype, chunk: int | None) -> None:
    """And refused with the reason where they are not in the table, or are no integers."""
    torch.manual_seed(0)
    model, t = nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(6, 2)).to(DTYPE), batch()[1]
    x = (torch.arange(24).reshape(12, 2) % 7).to(dtype)
    optimizer = HessianFree(model, LOSS, chunk=chunk)
    result = optimizer.step(x, t)
    assert result.objective_after < result.objective_before
    rows = r"inputs: integers must be rows that the model's tables have, .* but are from 0 to 7, with which it fails"
    integers = rf"inputs: must be integers for this model, but are {DTYPE}, .*: use inputs.long\(\)"
    late = x.clone()
    late[-2, 0] = 7  # not among the cases that the model is tried on
    for act in (optimizer.step, lambda *batch: linearize(model, LOSS, *batch, chunk=chunk)):
        for given, message in ((late, rows), (x.to(DTYPE), integers)):
            with pytest.raises(ConfigError, match=message):
                act(given, t)
    with pytest.raises(ConfigError, match=rows):
        objective(model, LOSS, late, t)


def test_errors_of_the_model_are_not_laid_at_the_inputs() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.out = nn.Embedding(7, 4, dtype=DTYPE), nn.Linear(3, 2, dtype=DTYPE)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.table(x))

    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes"):
        HessianFree(Broken(), LOSS).step(torch.arange(12) % 7, batch()[1])


def test_a_model_may_cast_its_inputs_and_errors_of_its_own_stay() -> None:
    x, t = batch()
    cast = Casts(network((4, 3, 2), 0))
    assert HessianFree(cast, LOSS).step(x.half(), t).step_length > 0
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes"):
        HessianFree(network((4, 3, 2), 0), LOSS).step(x[:, :3], t)


class Casts(nn.Module):
    def __init__(self, of: nn.Module) -> None:
        super().__init__()
        self.of = of

    def forward(self, x: Tensor) -> Any:
        return self.of(x.to(DTYPE))


class Gives(nn.Module):
    """A dense layer whose outputs are passed through a function."""

    def __init__(self, of: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.layer, self.of = nn.Linear(4, 2, dtype=DTYPE), of

    def forward(self, x: Tensor) -> Any:
        return self.of(self.layer(x))


OUTPUTS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "tuple": (lambda z: (z, z), "one tensor of pre-activations, cases first, but are tuple: wrap the model"),
    "dict": (lambda z: {"logits": z}, "but are dict"),
    "none": (lambda z: None, "but are NoneType"),
    "loss": (lambda z: z.square().mean(), r"cases as their first dimension, 4 here, but have shape \(\)"),
    "transposed": (lambda z: z.T, r"shape \(2, 4\)"),
    "single": (lambda z: z.float(), "dtype, torch.float64, but have torch.float32"),
    "classes": (lambda z: z.argmax(1), "torch.int64"),
    "detached": (lambda z: z.detach(), "depend on a trained parameter"),
}


@pytest.mark.parametrize("which", OUTPUTS)
def test_outputs_that_are_none(which: str) -> None:
    of, message = OUTPUTS[which]
    with pytest.raises(ConfigError, match=message):
        HessianFree(Gives(of), LOSS).step(*batch())


def test_outputs_that_lose_a_case_of_its_own() -> None:
    """A squeeze shows where one case comes alone: in chunks, or case by case."""
    model, x, t = Gives(lambda z: z.sum(1).squeeze()), batch()[0], batch()[1][:, 0]
    assert HessianFree(model, LOSS).step(x, t).step_length > 0
    with pytest.raises(ConfigError, match=r"1 here, but have shape \(\).*squeeze no case away"):
        HessianFree(model, LOSS, chunk=1).step(x, t)
    fails = Gives(lambda z: z[:, None].squeeze().flatten(1))
    assert HessianFree(fails, LOSS).step(*batch()).step_length > 0
    for cases, chunk in ((12, 1), (3, None)):  # in a chunk, and when the model is tried without the other cases
        with pytest.raises(ConfigError, match=r"must run on one case alone, .*Dimension out of range.*squeeze\(-1\)"):
            HessianFree(fails, LOSS, chunk=chunk).step(*batch(cases))


def test_contexts() -> None:
    (x, t), ends = batch(), []
    for context in (torch.enable_grad, torch.no_grad):
        model = network((4, 3, 2), 0)
        with context():
            HessianFree(model, LOSS).step(x, t)
        ends.append(list(model.parameters()))
    assert all(torch.equal(p, q) for p, q in zip(*ends, strict=True))
    optimizer = HessianFree(network((4, 3, 2), 0), LOSS)
    with torch.inference_mode(), pytest.raises(ConfigError, match="inside torch.inference_mode.*torch.no_grad"):
        optimizer.step(x, t)
    with torch.autocast("cpu"), pytest.raises(ConfigError, match=r"inside torch.autocast\('cpu'\).*outside of it"):
        optimizer.step(x, t)
    with torch.inference_mode():
        made = x + 1
    with pytest.raises(ConfigError, match="inputs: were made under torch.inference_mode.*clone"):
        optimizer.step(made, t)
    assert optimizer.step(made.clone(), t).step_length > 0


@pytest.mark.gpu
def test_batches_on_another_device() -> None:
    optimizer = HessianFree(network((4, 3, 2), 0).cuda(), LOSS)
    x, t = batch()
    with pytest.raises(ConfigError, match=r"inputs: must be on the model's device, cuda:0, but are on cpu"):
        optimizer.step(x, t)
    assert optimizer.step(x.cuda(), t.cuda()).step_length > 0
