"""Diagnosis: every failure that is planted in a real run is recognised, and healthy runs show none."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console
from support.made_records import records
from support.result_tables import runs
from support.tiny_study import MISBEHAVING, Explodes, attempt, specs, tiny

from hfbench import registry
from hfbench.commands.diagnose import _worse, diagnose_run, diagnose_study, is_key
from hfbench.config.load import load_study
from hfbench.config.study_runs import runs_of
from hfbench.diagnosis.nonfinite_origin import find_origin
from hfbench.diagnosis.run_trace import Run
from hfbench.diagnosis.signatures import findings
from hfbench.errors import ConfigError, StoreError
from hfbench.linalg.vector import Vector
from hfbench.parts.hyperparameters import part
from hfbench.records.run_folder import RunFolder

LONG = "study.stop_at_target=false"


def shown(spec, folder: Path) -> dict[str, str]:
    """The signatures of a run, with their evidence."""
    attempt(spec, folder)
    run = Run.of(RunFolder(folder, spec.key()), spec.name, spec.config()["method"])
    return {one.signature: one.evidence for one in findings(run)}


PLANTED = {
    "stalled inner solves": ("hf", 24, ["methods.hf.rules=[]", "methods.hf.max_inner=30"]),
    "lambda at its bound": ("hf", 24, ["methods.hf.globalization.min_damping=40.0"]),
    "rho below its range": (
        "hf", 24, ["methods.hf.globalization={initial_damping=1e-6,damping_growth=1.0}", "methods.hf.max_inner=50"],
    ),
    "line search rejects steps": ("hf", 24, ["methods.hf.globalization={armijo=0.999,max_tries=1}"]),
    "budget spent in backtracking": (
        "hf", 16, [
            "methods.hf.rules=[{use='fixed-iterations',iterations=120}]",
            "methods.hf.scheduler={use='fixed',gradient=1.0,curvature=0.05}",
            "methods.hf.globalization={initial_damping=1.0,damping_growth=1.0,damping_decay=1.0}",
        ],
    ),
    "batch grows too early": (
        "shf", 24,
        ["methods.shf.scheduler={use='dynamic',start=0.2,tolerance=0.9,window=1,max_growth=10.0}"],
    ),
    "batch grows too late": (
        "shf", 120, [
            "methods.shf.scheduler={use='inner-product',start=8.0,theta=100.0,nu=1000.0}",
            "methods.shf.globalization={initial_damping=3.0,damping_growth=1.0,damping_decay=1.0}",
        ],
    ),
    "lambda starts far off": ("hf", 12, ["methods.hf.globalization={initial_damping=450.0}"]),
    "overfitting": (
        "hf", 60, ["tasks.tiny-curves.cases=12", "methods.hf.scheduler={use='fixed',gradient=1.0,curvature=1.0}"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("signature", PLANTED)
def test_a_planted_failure_is_recognised(tmp_path: Path, signature: str) -> None:
    method, iterations, overrides = PLANTED[signature]
    study = tiny(tmp_path, LONG, f"study.budget={{iterations={iterations}}}", *overrides)
    assert signature in shown(specs(study)[method, 0], tmp_path)


@part
class Hoards:
    """A preconditioner that keeps what it should let go of."""

    cases = "curvature"
    trivial = True

    def build(self, linearisation: Any, shift: Any, generator: Any) -> Hoards:
        KEPT.append(torch.ones(6 * 2**20))
        return self

    def solve(self, v: Vector) -> Vector:
        return v

    solve_factor = solve_factor_t = solve


@part
class Backwards:
    """A preconditioner that is far from the matrix."""

    cases = "curvature"

    def build(self, linearisation: Any, shift: Any, generator: Any) -> Backwards:
        return self

    def solve(self, v: Vector) -> Vector:
        return self.solve_factor(self.solve_factor(v))

    def solve_factor(self, v: Vector) -> Vector:
        scales = (torch.logspace(0, -1.5, block.numel()).reshape(block.shape).to(block) for block in v)
        return Vector(block * scale for block, scale in zip(v, scales, strict=True))

    solve_factor_t = solve_factor


KEPT: list[torch.Tensor] = []


@pytest.fixture
def parts(forgotten: None) -> None:
    registry.add("preconditioner", "hoards", Hoards)
    registry.add("preconditioner", "backwards", Backwards)
    registry.add("solver", "explodes", Explodes)


def test_growing_memory_is_recognised(tmp_path: Path, parts: None) -> None:
    KEPT.clear()
    study = tiny(tmp_path, LONG, "study.budget={iterations=20}", "methods.hf.preconditioner=hoards")
    try:
        assert "growing memory" in shown(specs(study)["hf", 0], tmp_path)
    finally:
        KEPT.clear()


def diagnosed(study: Any, folder: Path, **more: Any) -> tuple[int, str]:
    screen = io.StringIO()
    status = diagnose_study(study, folder, None, Console(file=screen, width=80), **more)
    return status, screen.getvalue()


TWINS = """
[methods.%s]
solver = "cg"
preconditioner = "%s"
scheduler = { use = "fixed", gradient = 1.0, curvature = 0.25 }
"""


@pytest.mark.slow
def test_a_preconditioner_that_is_worse_than_none_is_recognised(tmp_path: Path, parts: None) -> None:
    extra = TWINS % ("bad", "backwards") + TWINS % ("none", "identity")
    study = tiny(tmp_path, "study.budget={iterations=60}", extra=extra)
    for (method, _), spec in specs(study).items():
        if method != "shf":
            attempt(spec, tmp_path)
    status, text = diagnosed(study, tmp_path)
    assert status == 1
    assert "preconditioner worse than none: bad on tiny-curves" in text
    assert "of none, more at every one of 2" in " ".join(text.split())
    assert "preconditioner worse than none: hf" not in text


def test_runs_without_products_have_no_ratio_of_them() -> None:
    table = runs({"bad": {0: 3.0, 1: 3.0, 2: 3.0}, "none": {0: 1.0, 1: 1.0, 2: 1.0}})
    table.loc[table["seed"] == 1, "products_to_target"] = 0.0
    table.loc[(table["seed"] == 2) & (table["method"] == "bad"), "products_to_target"] = 0.0
    (case,) = _worse(SimpleNamespace(judged=table), "bad", "none")  # type: ignore[arg-type]
    assert case.finding.evidence.startswith("3.00 times the products to target of none, more at every one of 1 seeds")


def test_the_origin_of_what_is_not_finite_is_named(tmp_path: Path, parts: None) -> None:
    study = tiny(tmp_path, extra=MISBEHAVING % ("wild", "explodes"))
    spec = specs(study)["wild", 0]
    assert attempt(spec, tmp_path)["outcome"] == "diverged"
    assert "after iteration 1 the first that is not finite: outputs of layer 0 (Linear)" in find_origin(spec)
    status, text = diagnosed(replace_methods(study, "wild"), tmp_path, with_origin=True)
    assert status == 1
    assert "diverged: wild/tiny-curves/s0" in text
    assert "outputs of layer 0 (Linear)" in " ".join(text.split())


def replace_methods(study: Any, name: str) -> Any:
    on = {task: replace(one, methods=(name,), seeds=(0,)) for task, one in study.on.items()}
    return replace(study, methods={name: study.methods[name]}, baseline=name, on=on, seeds=(0,))


NEAR = [f"methods.{name}.globalization.initial_damping=3.0" for name in ("hf", "shf-lsmr")]


@pytest.mark.slow
def test_ten_healthy_runs_show_nothing(tmp_path: Path) -> None:
    """With a lambda_0 that suits the task; with Martens' all show that it does not."""
    study = load_study("quickstart", NEAR, seeds="5")
    found = {spec.name: shown(spec, tmp_path) for spec in runs_of(study)}
    assert len(found) == 10
    assert found == dict.fromkeys(found, {})
    status, text = diagnosed(study, tmp_path)
    assert (status, text.splitlines()[-1]) == (0, "No failure signature in any of them.")


@pytest.mark.slow
def test_the_first_lambda_of_martens_is_far_off_on_a_small_task_and_costs_work(tmp_path: Path) -> None:
    study, near = (load_study("quickstart", changes, seeds="2") for changes in ([], NEAR))
    for spec, better in zip(runs_of(study), runs_of(near), strict=True):
        assert list(shown(spec, tmp_path)) == ["lambda starts far off"]
        works = [attempt(run, tmp_path)["work_to_target"] for run in (spec, better)]
        assert works[1] < 0.95 * works[0]


# ---------------------------------------------------------------- what there is to look at


def test_one_run_is_found_by_the_beginning_of_its_key(tmp_path: Path) -> None:
    spec = specs(tiny(tmp_path))["hf", 0]
    attempt(spec, tmp_path)
    key, screen = spec.key(), io.StringIO()
    assert is_key(key[:5], tmp_path)
    assert not is_key("tiny", tmp_path)
    assert not is_key("0" * 16, tmp_path)
    assert diagnose_run(key[:5], tmp_path, Console(file=screen, width=80)) == 0
    assert screen.getvalue().startswith("hf/tiny-curves/s0: reached after ")


def test_a_run_that_has_not_ended_and_a_study_without_runs_are_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "abcd" * 4)
    folder.create(specs(tiny(tmp_path))["hf", 0].config())
    with pytest.raises(StoreError, match="has not ended yet"):
        diagnose_run("abcd", tmp_path, Console(file=io.StringIO()))
    RunFolder(tmp_path, "abcd" * 3 + "0000").create({})
    with pytest.raises(ConfigError, match="beginning of 2 runs' keys"):
        diagnose_run("abcd", tmp_path, Console(file=io.StringIO()))
    with pytest.raises(StoreError, match="none of the 4 runs of tiny is recorded"):
        diagnosed(tiny(tmp_path), tmp_path)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    study = tiny(tmp_path)
    folder = next(iter(records(study, tmp_path).values()))
    (folder.path / "config.json").write_text("[" * 10_000)
    screen = io.StringIO()
    diagnose_study(study, tmp_path, None, Console(file=screen, width=80))
    assert "tiny: 3 runs looked at" in screen.getvalue()
    assert f"is set aside: runs/{folder.key}: config.json must have the sha256" in screen.getvalue()
    with pytest.raises(StoreError, match=r"cannot be used: runs/.* config.json must have the sha256"):
        diagnose_run(folder.key, tmp_path, Console(file=io.StringIO()))


def test_a_baseline_is_asked_only_what_it_can_show(tmp_path: Path) -> None:
    extra = '\n[methods.adam]\noptimizer = "adam"\nscheduler = "fixed"\n'
    study = tiny(tmp_path, LONG, "study.budget={iterations=12}", extra=extra)
    assert shown(specs(study)["adam", 0], tmp_path) == {}
