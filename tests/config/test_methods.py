"""Methods as written and as resolved: baselines, followed batches, layouts, streams, ablations, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hfbench.config.load import load_study
from hfbench.config.study import Study
from hfbench.errors import ConfigError

HEAD = """
[study]
name = "kinds"
tasks = ["curves-small"]
seeds = 7
baseline = "hf"

[methods.hf]
solver = "cg"
preconditioner = "martens"
scheduler = "dynamic"
"""
FOLLOWER = (
    HEAD
    + """
[methods.lsmr]
solver = "lsmr"
preconditioner = "martens"
batches_of = "hf"
"""
)
BASELINE = (
    HEAD
    + """
[methods.adam]
optimizer = { use = "adam", lr = 0.01 }
scheduler = { use = "fixed", gradient = 1.0, order = "random" }
"""
)
ABLATION = (
    HEAD
    + """
[methods.new]
solver = "lsmr"
preconditioner = "martens"
scheduler = "dynamic"
layout = "flat"

[ablation]
from = "hf"
to = "new"
factors = ["solver", "layout"]
"""
)


def study(tmp_path: Path, text: str, *overrides: str, only: tuple[str, ...] = ()) -> Study:
    file = tmp_path / "kinds.toml"
    file.write_text(text)
    return load_study(str(file), overrides, only=only)


def test_a_follower_has_the_batches_of_another_method_and_no_scheduler(tmp_path: Path) -> None:
    method = study(tmp_path, FOLLOWER).methods["lsmr"]
    assert (method.batches_of, method.scheduler) == ("hf", None)
    assert [family for family, _ in method.parts()] == ["solver", "preconditioner", "rule"]


def test_a_baseline_has_no_hessian_free_parts(tmp_path: Path) -> None:
    method = study(tmp_path, BASELINE).methods["adam"]
    assert method.optimizer == {
        "use": "adam", "lr": 0.01, "minibatch": 100, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8,
        "schedule": "constant", "warmup": 0.0, "span": 1.0, "precision": "parameters",
    }  # fmt: skip
    assert (method.solver, method.preconditioner, method.rules, method.globalization) == (None, None, (), {})
    assert [family for family, _ in method.parts()] == ["optimizer", "scheduler"]


def test_an_ablation_adds_its_methods_between_the_ends(tmp_path: Path) -> None:
    found = study(tmp_path, ABLATION)
    assert list(found.methods) == ["hf", "hf_layout-flat", "hf_lsmr", "new"]
    assert found.ablation is not None
    assert found.ablation.levels == {"hf": (0, 0), "hf_layout-flat": (0, 1), "hf_lsmr": (1, 0), "new": (1, 1)}
    assert found.methods["hf_lsmr"].layout == "structured"


def test_methods_left_out_end_the_ablation(tmp_path: Path) -> None:
    assert study(tmp_path, ABLATION, only=("new",)).ablation is None
    whole = study(tmp_path, ABLATION, only=("new", "hf_lsmr", "hf_layout-flat"))
    assert whole.ablation is not None


def test_a_method_kept_keeps_the_one_it_follows(tmp_path: Path) -> None:
    text = (
        FOLLOWER.replace('baseline = "hf"', 'baseline = "cg"')
        + """
[methods.cg]
solver = "cg"
preconditioner = "identity"
scheduler = "fixed"
"""
    )
    assert list(study(tmp_path, text, only=("lsmr",)).methods) == ["hf", "lsmr", "cg"]


@pytest.mark.parametrize(
    ("text", "override", "message"),
    [
        (FOLLOWER, "methods.lsmr.batches_of=hv", r"must name a method of the study that has a scheduler, but got 'hv'"),
        (FOLLOWER, "methods.lsmr.batches_of=lsmr", r"must name a method .* but got 'lsmr'.*; known: hf"),
        (FOLLOWER, "methods.lsmr.scheduler=fixed", r"methods\.lsmr\.scheduler: .*both are there"),
        (HEAD.replace('scheduler = "dynamic"', ""), "study.margin=1.1", r"methods\.hf\.scheduler: .*neither is there"),
        (BASELINE, "methods.adam.solver=cg", r"methods\.adam: a baseline \(optimizer\) has no solver"),
        (BASELINE, "methods.adam.globalization.armijo=0.1", r"a baseline \(optimizer\) has no globalization"),
        (BASELINE, "methods.adam.optimizer.lr=-1", r"methods\.adam\.optimizer\.lr: must"),
        (BASELINE, "study.primary=products_to_target", r"study\.primary: .*adam need no Gauss-Newton products"),
        (HEAD.replace('solver = "cg"', ""), "study.margin=1.1", r"methods\.hf\.solver: must be given .*known: cg"),
        (HEAD, "methods.hf.layout=falt", r"methods\.hf\.layout: .*flat"),
        (HEAD, "methods.hf.solver=dense", r"methods\.hf\.preconditioner: solver Dense takes no .* got Martens"),
        (ABLATION, "ablation.design=leave-one-out", r"study\.baseline: must be new, the starting method of"),
        (ABLATION, "ablation.design=all", r"ablation\.design: must be"),
        (ABLATION.replace('from = "hf"', ""), "study.margin=1.1", r"ablation\.from: must be given"),
        (ABLATION, "ablation.factors=[]", r"ablation\.factors: must be 1 to 6"),
    ],
)
def test_refused(tmp_path: Path, text: str, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        study(tmp_path, text, override)
    assert re.search(message, str(caught.value).replace(" (from --set)", ""))
