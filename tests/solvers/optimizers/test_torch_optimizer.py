"""Any optimiser class by its path: found, checked, run, and named in the key of a run."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.systems import inputs_for, network, targets_for

from hfbench.config.load import load_study
from hfbench.config.study_runs import runs_of
from hfbench.errors import ConfigError, HfbenchError
from hfbench.parts import Horizon, Linear, Log, registry
from hfbench.parts.plugin_files import load_plugin, plugin_names
from hfbench.solvers.optimizers.first_order import FirstOrder
from hfbench.solvers.optimizers.torch_optimizer import TorchOptimizer

LOSS, MU = "logistic", (1e-2, 0.0, 1e-2, 0.0)
PLUGIN = """
import torch

class Plain(torch.optim.Optimizer):
    def __init__(self, params, lr, factor={factor}):
        super().__init__(params, {{"lr": lr}})

    def step(self, closure=None):
        with torch.enable_grad():
            loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    p.sub_(p.grad, alpha={factor} * group["lr"])
        return loss
"""


class Plain(torch.optim.Optimizer):
    """Gradient descent."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr})

    def step(self, closure: Any = None) -> Any:
        value = closure()
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    p.sub_(group["lr"] * p.grad)
        return self.answer(value)

    def answer(self, value: Any) -> Any:
        return value


class Silent(Plain):
    def answer(self, value: Any) -> Any: ...


class Deaf(Plain):
    """Asks for no gradient."""

    def step(self, closure: Any = None) -> Any:
        with torch.no_grad():
            [p.mul_(0.9) for group in self.param_groups for p in group["params"]]


class Curious(Plain):
    """Differentiates the gradient."""

    def step(self, closure: Any = None) -> Any:
        return super().step(lambda: self.differentiated(closure()))

    def differentiated(self, value: Any) -> Any:
        weights = self.param_groups[0]["params"]
        torch.autograd.grad(sum(p.grad.sum() for p in weights), weights)
        return value


class Refusing(Plain):
    def __init__(self, params: Any, error: str = "IndexError", said: str = "") -> None:
        raise getattr(builtins, error)(said)


class Emptying(Plain):
    """Takes its settings out of the table that it is given."""

    def __init__(self, params: Any, table: dict[str, float]) -> None:
        super().__init__(params, table.pop("lr"))


class Idle(torch.optim.Optimizer):
    """Moves nothing."""

    def __init__(self, params: Any, lr: float = 1.0) -> None:
        super().__init__(params, {"lr": lr})

    def step(self, closure: Any = None) -> Any:
        return closure()


def begun(**settings: Any) -> tuple[FirstOrder, Any]:
    model = network((6, 5, 4), 0)
    part = registry.build("optimizer", {"use": "torch", "minibatch": 8, **settings}, "here")
    optimizer: FirstOrder = part.begin(model, LOSS, MU)
    return optimizer, (inputs_for(40, 6, 1), targets_for(LOSS, 40, 4, 2))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"class": "torch.optim.AdamX"}, r"here.class: .*no 'AdamX' \(did you mean 'Adamax'\?\)"),
        ({"class": "torch.optim.lr_scheduler.LinearLR"}, "here.class: must be a class derived from"),
        ({"class": "torch.optim.Optimizer"}, "here.class: must be a class derived from"),
        ({"class": "nowhere.Adam"}, "here.class: 'nowhere.Adam' must be importable, but: No module named 'nowhere'"),
        ({"class": "Adam"}, "here.class: must be the dotted path of an optimiser class"),
        ({"class": "torch.optim.Adam; import os"}, "here.class: must be the dotted path"),
        ({"class": "../x.Adam"}, "here.class: must be the dotted path"),
        ({"class": 3}, "here.class: must be a string, but got 3"),
        ({}, "here.class: must be given"),
        ({"class": "torch.optim.SGD", "settings": {"lrr": 1}}, "here.settings.lrr: SGD has no such argument"),
        ({"class": "torch.optim.SGD", "settings": {"params": []}}, "here.settings.params: SGD has no such argument"),
        ({"class": "torch.optim.SGD", "settings": 3}, "here.settings: must be a table"),
        ({"class": "torch.optim.Muon", "rest": {"use": "adamw"}}, "here.rest: must have class and settings alone"),
        ({"class": "torch.optim.Muon", "rest": {}}, "here.rest.class: must be the dotted path"),
        ({"class": "torch.optim.Muon", "rest": {"class": "torch.optim.LBFGS"}}, "rest.class: .* LBFGS asks for"),
        ({"class": "torch.optim.SGD", "schedule": "cos"}, r"here.schedule: must be one of .*did you mean 'cosine'"),
        ({"class": "torch.optim.SGD", "warmup": 1.0}, r"here.warmup: must lie in \[0, 1\)"),
        ({"class": "torch.optim.SGD", "precision": "half"}, "here.precision: must be one of"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_by_its_key(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        registry.build("optimizer", {"use": "torch", **settings}, "here")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"class": "torch.optim.SGD", "settings": {"lr": -1.0}}, "settings: SGD refuses them: Invalid learning"),
        ({"class": "torch.optim.Muon"}, "settings: Muon refuses them: .* give the others a class with `rest`"),
        ({"class": "torch.optim.SGD", "precision": "bfloat16"}, "precision: 'bfloat16' must have float32 weights"),
    ],
)  # fmt: skip
def test_what_the_class_refuses_is_said_before_a_step(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        begun(**settings)


def test_arguments_of_the_classes_that_a_class_derives_from_are_known(tmp_path: Path) -> None:
    registry.build(
        "optimizer", {"use": "torch", "class": "pytorch_optimizer.SOAP", "settings": {"lr": 1e-3, "eps": 1e-9}}
    )
    with pytest.raises(ConfigError, match=r"settings.momentumm: SOAP has no such argument"):
        registry.build("optimizer", {"use": "torch", "class": "pytorch_optimizer.SOAP", "settings": {"momentumm": 1}})


def test_lists_of_a_study_file_are_the_tuples_of_a_constructor() -> None:
    optimizer, batch = begun(**{"class": "torch.optim.Adam", "settings": {"lr": 0.1, "betas": [0.5, 0.9]}})
    assert optimizer.inner.param_groups[0]["betas"] == (0.5, 0.9)
    optimizer.step(*batch)


def test_the_rest_takes_what_is_no_matrix() -> None:
    rest = {"class": "torch.optim.AdamW", "settings": {"lr": 1e-3}}
    optimizer, batch = begun(**{"class": "torch.optim.Muon", "rest": rest})
    shapes = [[p.dim() for p in one.param_groups[0]["params"]] for one in (optimizer.inner, *optimizer.others)]
    assert shapes == [[2, 2], [1, 1]]
    before = [w.detach().clone() for w in optimizer.weights]
    optimizer.step(*batch)
    assert not any(torch.equal(w, old) for w, old in zip(optimizer.weights, before, strict=True))


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with the classes of this file."""
    monkeypatch.setitem(sys.modules, "own_for_a_test", sys.modules[__name__])
    return "own_for_a_test"


def test_a_class_that_moves_nothing_is_an_error_and_no_result(own: str) -> None:
    optimizer, batch = begun(**{"class": f"{own}.Idle"})
    with pytest.raises(HfbenchError, match="Idle must move the weights, but left them as they were in its first 5"):
        optimizer.step(*batch)


@pytest.mark.parametrize("error", ["IndexError", "KeyError", "AssertionError", "SystemExit", "OverflowError"])
@pytest.mark.parametrize("said", ["", "no\x1b[2J" * 10**5])
def test_whatever_a_constructor_raises_is_one_sentence(own: str, error: str, said: str) -> None:
    with pytest.raises(ConfigError, match="settings: Refusing refuses them: ") as caught:
        begun(**{"class": f"{own}.Refusing", "settings": {"error": error, "said": said}})
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()
    assert "rest" not in str(caught.value), "it takes no matrices either"


def test_a_class_may_take_apart_the_tables_that_it_is_given(own: str) -> None:
    settings = {"table": {"lr": 0.1}}
    optimizer, batch = begun(**{"class": f"{own}.Emptying", "settings": settings, "schedule": "cosine"})
    optimizer.expect(Horizon({"iterations": 2}, 40), torch.Generator())
    optimizer.step(*batch)
    assert settings == {"table": {"lr": 0.1}}


def test_an_optimiser_need_not_return_the_value(own: str) -> None:
    taken, batch = begun(**{"class": f"{own}.Plain"})
    other, _ = begun(**{"class": f"{own}.Silent"})
    assert taken.step(*batch) == other.step(*batch)
    assert taken.updates == other.updates == 5


def test_an_optimiser_must_ask_for_the_gradient(own: str) -> None:
    """Else its updates would cost nothing."""
    optimizer, batch = begun(**{"class": f"{own}.Deaf"})
    with pytest.raises(HfbenchError, match=r"Deaf\.step must call the closure that it is given"):
        optimizer.step(*batch)


def test_who_differentiates_the_gradient_is_told_how(own: str) -> None:
    optimizer, batch = begun(**{"class": f"{own}.Curious"})
    with pytest.raises(HfbenchError, match="Curious differentiates the gradient, .* create_graph = true"):
        optimizer.step(*batch)
    optimizer, batch = begun(**{"class": f"{own}.Curious", "create_graph": True})
    optimizer.step(*batch)


def test_bfloat16_rounds_the_passes_and_not_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hfbench.linalg.precision.NARROW", 0)
    results = {}
    for precision in ("parameters", "bfloat16"):
        model = network((6, 5, 4), 0).float()
        part = TorchOptimizer(class_="torch.optim.SGD", settings={"lr": 0.1}, minibatch=8, precision=precision)
        optimizer = part.begin(model, LOSS, MU)
        row = optimizer.step(inputs_for(40, 6, 1).float(), targets_for(LOSS, 40, 4, 2).float()).to_row()
        results[precision] = torch.cat([w.detach().flatten() for w in optimizer.weights]), row
        assert {w.dtype for w in optimizer.weights} == {torch.float32}
    (plain, told), (rounded, told_too) = results["parameters"], results["bfloat16"]
    assert (told["precision"], told_too["precision"]) == ("float32", "bfloat16")
    difference = float((rounded - plain).norm() / plain.norm())
    assert 1e-6 < difference < 2**-7
    assert told_too["gradient_norm"] == pytest.approx(told["gradient_norm"], rel=2**-6)


STUDY = """
[study]
name = "own"
tasks = ["curves-small"]
seeds = 2
budget = {{ passes = 5 }}
baseline = "plain"
[plugins]
files = ["my_plain.py"]
[methods.plain]
optimizer = {{ use = "torch", class = "{path}", settings = {{ lr = 0.01 }} }}
scheduler = "fixed"
[methods.adam]
optimizer = "adam"
scheduler = "fixed"
"""


def keys(folder: Path, factor: float, path: str = "my_plain.Plain") -> dict[str, str]:
    (folder / "my_plain.py").write_text(PLUGIN.format(factor=factor))
    (folder / "own.toml").write_text(STUDY.format(path=path))
    return {spec.name: spec.key() for spec in runs_of(load_study(str(folder / "own.toml")))}


def test_a_class_of_a_plugin_file_counts_in_the_key(tmp_path: Path) -> None:
    once, again, other = keys(tmp_path, 1.0), keys(tmp_path, 1.0), keys(tmp_path, 2.0)
    assert once == again
    assert once["plain/curves-small/s0"] != other["plain/curves-small/s0"]
    assert once["adam/curves-small/s0"] == other["adam/curves-small/s0"]
    assert "my_plain" in plugin_names()


def test_a_plugin_file_without_part_or_optimiser_adds_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("import torch\n")
    file = load_plugin(tmp_path / "empty.py")
    assert "or define a class derived from torch.optim.Optimizer" in registry.skipped.pop(str(file)).why


def test_common_settings_have_ranges_by_their_class() -> None:
    rest = {"class": "torch.optim.AdamW", "settings": {"lr": 1e-3, "eps": 1e-8}}
    settings = {"lr": 0.02, "momentum": 0.9, "nesterov": True}
    part = {"use": "torch", "class": "torch.optim.SGD", "settings": settings, "rest": rest}
    assert registry.build("optimizer", part).ranges() == {
        "settings.lr": Log(1e-4, 1.0),
        "settings.momentum": Linear(0.0, 0.99),
        "rest.settings.lr": Log(1e-5, 1e-1),
        "rest.settings.eps": Log(1e-10, 1e-4),
    }
