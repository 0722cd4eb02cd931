"""What differs on one task of a study: methods, seeds, budget, and settings of methods."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from hfbench.config.duplicate_methods import duplicate_methods
from hfbench.config.load import load_study
from hfbench.config.study import OnTask, Study
from hfbench.config.study_runs import runs_of
from hfbench.config.to_toml import toml
from hfbench.errors import ConfigError

ON = """
[study]
name = "kinds"
tasks = ["curves-small", "usps"]
seeds = 7
baseline = "hf"

[methods.hf]
solver = "cg"
preconditioner = "martens"
scheduler = "dynamic"

[methods.new]
solver = "lsmr"
preconditioner = "martens"
scheduler = "dynamic"
layout = "flat"

[ablation]
from = "hf"
to = "new"
factors = ["solver", "layout"]

[on.usps]
methods = ["new", "hf"]
seeds = [3, 4]
budget = { products = 9 }
"""
OWN = """
[study]
name = "own"
tasks = ["curves-small", "usps"]
seeds = 3
baseline = "adam"

[methods.adam]
optimizer = { use = "adam", lr = 1e-2, minibatch = 50 }
scheduler = "fixed"

[methods.hf]
solver = "cg"
preconditioner = { use = "martens", exponent = 0.5 }
scheduler = "fixed"

[on.usps.settings.adam]
optimizer.lr = 2e-3

[on.usps.settings.hf]
preconditioner = "identity"
scheduler.gradient = 0.5
max_inner = 20
"""


def study(folder: Path, text: str, *overrides: str) -> Study:
    file = folder / "on.toml"
    file.write_text(text)
    return load_study(str(file), overrides)


def test_a_task_may_have_its_own_methods_seeds_and_budget(tmp_path: Path) -> None:
    found = study(tmp_path, ON)
    assert found.on["usps"] == OnTask(("hf", "new"), (3, 4), {"products": 9.0})
    assert found.on["curves-small"] == OnTask(tuple(found.methods), tuple(range(7)), {})
    runs = [(spec.task, spec.method.name, spec.seed) for spec in runs_of(found)]
    assert len(runs) == 4 * 7 + 2 * 2
    assert [run for run in runs if run[0] == "usps"] == [
        ("usps", "hf", 3), ("usps", "new", 3), ("usps", "hf", 4), ("usps", "new", 4),
    ]  # fmt: skip
    assert {str(spec.budget) for spec in runs_of(found) if spec.task == "usps"} == {"{'products': 9.0}"}


def test_options_reach_every_task(tmp_path: Path) -> None:
    file = tmp_path / "on.toml"
    file.write_text(ON)
    found = load_study(str(file), seeds="5", only=("hf_lsmr",))
    assert {on.seeds for on in found.on.values()} == {(0, 1, 2, 3, 4)}
    assert (found.on["usps"].methods, found.on["curves-small"].methods) == (("hf",), ("hf", "hf_lsmr"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[on.usps]", "[on.uspss]", r"on\.uspss: must name a task of the study, but got 'uspss'.*usps"),
        ('["new", "hf"]', '["new"]', r"on\.usps\.methods: must include the baseline hf"),
        ('["new", "hf"]', '["hf", "nwe"]', r"on\.usps\.methods: must name a method of the study, but got 'nwe'"),
        ("[3, 4]", "[3, 3]", r"on\.usps\.seeds: must not repeat"),
        ("products = 9", "product = 9", r"on\.usps\.budget\.product: unknown key"),
    ],
)
def test_refused_on_a_task(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in ON
    with pytest.raises(ConfigError, match=message):
        study(tmp_path, ON.replace(old, new))


# ---------------------------------------------------------------- settings of methods


def test_a_method_has_its_name_and_other_settings_on_a_task(tmp_path: Path) -> None:
    found = study(tmp_path, OWN)
    adam, hf = (found.method_on("usps", name) for name in ("adam", "hf"))
    assert (adam.name, adam.optimizer) == ("adam", {**(found.methods["adam"].optimizer or {}), "lr": 2e-3})
    assert hf.preconditioner == {"use": "identity"}
    assert hf.scheduler == {**(found.methods["hf"].scheduler or {}), "gradient": 0.5}
    assert hf.max_inner == 20
    assert found.method_on("curves-small", "adam") is found.methods["adam"]
    rates = {(spec.task, spec.method.optimizer["lr"]) for spec in runs_of(found) if spec.method.optimizer is not None}
    assert rates == {("curves-small", 1e-2), ("usps", 2e-3)}


def test_the_option_set_reaches_them(tmp_path: Path) -> None:
    found = study(tmp_path, OWN, "on.usps.settings.adam.optimizer.minibatch=200")
    optimizer = found.method_on("usps", "adam").optimizer or {}
    assert (optimizer["lr"], optimizer["minibatch"]) == (2e-3, 200)


def test_they_are_written_to_a_file_and_kept_with_their_method(tmp_path: Path) -> None:
    found = study(tmp_path, OWN)
    (tmp_path / "again.toml").write_text(toml(found, tmp_path), encoding="utf-8")
    again = load_study(str(tmp_path / "again.toml"))
    assert dataclasses.replace(again, source=found.source) == found
    assert list(load_study(str(tmp_path / "again.toml"), only=["adam"]).on["usps"].settings) == ["adam"]


def test_methods_that_differ_on_a_task_alone_are_no_duplicates(tmp_path: Path) -> None:
    text = OWN.replace("[methods.hf]", '[methods.same]\noptimizer = { use = "adam", lr = 1e-2, minibatch = 50 }\n'
                       'scheduler = "fixed"\n\n[methods.hf]')  # fmt: skip
    assert duplicate_methods(study(tmp_path, text)) == []
    (said,) = duplicate_methods(study(tmp_path, text + "[on.usps.settings.same]\noptimizer.lr = 2e-3\n"))
    assert said.startswith("The methods adam, same have the same settings")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("settings.adam]", "settings.adma]", r"on\.usps\.settings: must name a method of the study, but got 'adma'"),
        ("optimizer.lr = 2e-3", "optimizer.lrr = 2e-3", r"on\.usps\.settings\.adam\.optimizer\.lrr: unknown key"),
        ("optimizer.lr = 2e-3", "optimizer = 3", r"on\.usps\.settings\.adam\.optimizer: must be"),
        ("optimizer.lr = 2e-3", "optimizer.lr = -1", r"on\.usps\.settings\.adam\.optimizer\.lr: must lie in"),
        (
            "[on.usps.settings.adam]\noptimizer.lr = 2e-3",
            "[on.usps.settings]\nadam = 3",
            r"settings\.adam: must be a tab",
        ),
        ("max_inner = 20", 'batches_of = "adam"', r"on\.usps\.settings\.hf\.batches_of: must be that of methods\.hf"),
        ("[on.usps.settings.hf]", '[on.usps]\nmethods = ["adam"]\n\n[on.usps.settings.hf]', r"got 'hf'"),
    ],
)
def test_settings_refused_on_a_task(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in OWN
    with pytest.raises(ConfigError, match=message):
        study(tmp_path, OWN.replace(old, new))
